"""The cost of policy checks: a page of 1,000 images with the default rules and with one that checks every image.

    python bench/policy_pages.py

Prints the median wall time of ``GET /v2/images?limit=1000`` in process on SQLite, in turns, and of one check.
"""

import statistics
import tempfile
import time
from pathlib import Path

from ferrotype.admin.seeding import seed
from ferrotype.config.policy import Policy
from ferrotype.model.image import Image
from ferrotype.rules import defaults
from ferrotype.rules.policy import compiled
from ferrotype.testing.client import ADMIN, OWNER, Client, client

RULES = {
    "default": "",
    "twisted": "get_image: \"(role:reader and ('linux':%(os_type)s or not 'never':%(name)s)) or role:admin\"\n",
}


def page(api: Client) -> float:
    began = time.perf_counter()
    answer = api.get("/v2/images?limit=1000&visibility=all", caller=ADMIN)
    took = time.perf_counter() - began
    if answer.status != 200 or len(answer.json["images"]) != 1000:
        raise SystemExit(f"the page is not what was asked for: {answer.status}")
    return took


def main() -> None:
    """Measure and print."""
    taken: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(3):
        for name, text in RULES.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "policy.yaml"
                file.write_text(text)
                with client(Path(folder), policy=Policy(file=file)) as api:
                    api.run(seed(api.application.ctx.db, 1000))
                    page(api)
                    taken[name] += [page(api) for _ in range(10)]
    for name, times in taken.items():
        print(f"page of 1,000, {name:8} {statistics.median(times) * 1000:6.1f} ms")
    rule = compiled(defaults.texts(True))["get_image"]
    image = Image(id="i", owner="p1", visibility="shared")
    began = time.perf_counter()
    for _ in range(100_000):
        rule(OWNER, image, False)
    print(f"one check of get_image   {(time.perf_counter() - began) * 10:6.2f} us")


if __name__ == "__main__":
    main()
