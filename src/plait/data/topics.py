"""Four owners for the standard library's documentation: which topic a module belongs to."""

from __future__ import annotations

TEXT = "text-and-data"
NETWORK = "network-and-internet"
SYSTEM = "system-and-concurrency"
LANGUAGE = "language-and-tools"

_FAMILIES = {
    TEXT: """
        _compat_pickle _compression _pydecimal _strptime aifc array base64 binascii bisect bz2 calendar chunk
        codecs collections colorsys configparser contextvars copy copyreg csv datetime dbm decimal difflib
        encodings fractions gettext graphlib gzip heapq html imghdr json locale lzma numbers pickle
        pickletools plistlib pprint quopri random re reprlib secrets hashlib hmac shelve sndhdr sqlite3
        sre_compile sre_constants sre_parse statistics string stringprep struct sunau tarfile textwrap tomllib
        turtle unicodedata uu uuid wave xdrlib xml zipfile zoneinfo _collections_abc _weakrefset weakref
    """,
    NETWORK: """
        asynchat asyncore asyncio cgi cgitb email ftplib http imaplib ipaddress mailbox mailcap mimetypes
        netrc nntplib nturl2path poplib smtpd smtplib socket socketserver ssl telnetlib urllib webbrowser
        wsgiref xmlrpc
    """,
    SYSTEM: """
        _aix_support _bootsubprocess _osx_support _pyio _threading_local concurrent crypt ctypes curses
        filecmp fileinput fnmatch genericpath getopt getpass glob io linecache logging multiprocessing ntpath
        optparse argparse os pathlib pipes platform posixpath pty queue sched selectors shlex shutil signal
        site stat subprocess sysconfig tempfile threading tkinter tty venv zipapp _sitebuiltins cmd
    """,
}


def topic_of(module: str) -> str:
    """The topic of a module by its first name; what is in no list is about the language and its tools.

    Example:
        >>> topic_of("asyncio.tasks"), topic_of("json"), topic_of("unittest.mock")
        ('network-and-internet', 'text-and-data', 'language-and-tools')
    """
    family = module.split(".")[0]
    for topic, families in _FAMILIES.items():
        if family in families.split():
            return topic
    return LANGUAGE
