"""A worker-like process for a test to kill: runs one attempt of a fixture's cpu processor.

python -m tests.processors.parent <processor> <folder>
"""

import asyncio
import sys

from tests.processors.support import fixture_attempt, running_host


async def main() -> None:
    name, folder = sys.argv[1:]
    async with running_host() as host:
        await host.run(fixture_attempt(name, {"folder": folder}))


if __name__ == "__main__":
    asyncio.run(main())
