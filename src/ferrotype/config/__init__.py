"""What the operator wants: files and command line in, one frozen, checked ``Config`` out."""
