"""The descriptors of real VMware disks, field by field as their programs write them."""

VIRTUALBOX = """\
# Disk DescriptorFile
version=1
CID=8e3bd2a4
parentCID=ffffffff
createType="{kind}"

# Extent description
{access} 2048 SPARSE "{name}"

# The disk Data Base 
#DDB

ddb.virtualHWVersion = "4"
ddb.adapterType="ide"
ddb.geometry.cylinders="2"
ddb.geometry.heads="16"
ddb.geometry.sectors="63"
ddb.geometry.biosCylinders="2"
ddb.geometry.biosHeads="16"
ddb.geometry.biosSectors="63"
ddb.uuid.image="6a7f9c0e-9d5b-4a55-8e30-1b6f7e0d4c21"
ddb.uuid.parent="00000000-0000-0000-0000-000000000000"
ddb.uuid.modification="f2a1b3c4-0d1e-4f20-9a3b-4c5d6e7f8091"
ddb.uuid.parentmodification="00000000-0000-0000-0000-000000000000"
ddb.comment=""
"""  # noqa: W291
VMWARE = """\
# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
isNativeSnapshot="no"
createType="{kind}"

# Extent description
{access} 2048 SPARSE "{name}"

# Change Tracking File
changeTrackPath="disk-ctk.vmdk"

# The Disk Data Base 
#DDB

ddb.adapterType = "lsilogic"
ddb.encoding = "UTF-8"
ddb.geometry.cylinders = "512"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.longContentID = "0d5e0ffac9a3ee6d5dbbd5d8fffffffe"
ddb.thinProvisioned = "1"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "11360"
ddb.uuid = "60 00 C2 9e 1c 4e 63 f4-6b 4c 1f 0c 8a 32 5d 7e"
ddb.virtualHWVersion = "14"
"""  # noqa: W291
