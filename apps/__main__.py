"""python -m apps [NAME ...]: run the applications, and print a table of the results."""

import sys
import time

from apps.catalogue import APPLICATIONS
from apps.trial import Way, attempt


def main(names: list[str]) -> int:
    """Run the named applications, or all. Returns the exit code: 1 if one has failed."""
    unknown = set(names) - {application.name for application in APPLICATIONS}
    if unknown:
        print(f"no such application: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    failed = False
    for application in APPLICATIONS:
        if names and application.name not in names:
            continue
        for way in Way:
            started_s = time.monotonic()
            troubles = attempt(application, way)
            failed |= bool(troubles)
            print(f"| {application.name} | {way.value} | {'failed' if troubles else 'works'} |", flush=True)
            print(f"{application.name}, {way.value}: {time.monotonic() - started_s:.0f} s", file=sys.stderr)
            for trouble in troubles:
                print(f"    {trouble}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
