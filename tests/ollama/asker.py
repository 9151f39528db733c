"""A process that asks one Ollama several times: `python -m tests.ollama.asker URL DIR COUNT`."""

import asyncio
import sys
from pathlib import Path

from processors.dependencies.asking import Ask
from tests.ollama.simulated import Sim, asking


async def main(url: str, directory: str, count: int) -> None:
    async with asking(Sim(url), Path(directory)) as ollama:
        for number in range(count):
            await ollama.ask(Ask.of(f"Spørgsmål {number}", max_tokens=8))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
