"""The manners: files, network and processes are refused with a friendly PermissionError.

Anyone can walk around them through the object graph, `_io`, `posix` or ctypes. They are not the wall.
"""
