"""Fetches through the resolver of the machine. Run in a network namespace, where port 53 and 80 are free."""

import asyncio

from remote import INTERNAL, PUBLIC, File, dns, fetcher, remote, tripwire

from ferrotype.model.errors import FerrotypeError
from ferrotype.offload import ThreadPools
from ferrotype.streams.fetch import system_resolver


async def main() -> None:
    pools = ThreadPools(2)
    resolve = system_resolver(pools.new_pool(2, "resolver"))
    names = {"good.example": [[PUBLIC]], "rebind.example": [[INTERNAL]]}
    async with dns(names, port=53), remote(File(b"data"), port=80), tripwire(80):
        for host in ("good.example", "rebind.example", "nothing.example", "localhost"):
            try:
                response = await fetcher(resolve).get(f"http://{host}/")
                print(b"".join([chunk async for chunk in response.chunks()]))
            except FerrotypeError as error:
                print(type(error).__name__)
    pools.close()


asyncio.run(main())
