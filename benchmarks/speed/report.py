"""Size and seconds of the page of many results: made-up ones of forty models on sixteen tasks.

    python -m svuprobe.benchmarks.speed.report [MODELS TASKS [FOLDER]]

How large ``svuprobe report`` makes the page and how long it takes; and where Chromium, its driver
and selenium are installed, when it first paints and how long sorting the largest table takes. The
page is kept in FOLDER, if one is given.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import svuprobe
from svuprobe.benchmarks import report  # noqa: F401 - imported before the clock starts
from svuprobe.benchmarks.speed.leaderboard import write

_SORTING = """
const table = document.querySelector("table.across");
const buttons = table.querySelectorAll("th button.sort");
const taken = [];
for (const button of buttons) {
  const started = performance.now();
  button.click();
  document.body.getBoundingClientRect();  // the page is laid out again
  taken.push(performance.now() - started);
}
taken.sort((a, b) => a - b);
return taken[taken.length >> 1] / 1000;  // the median over the columns
"""


def main(n_models: int, n_tasks: int, kept: Path | None) -> None:
    """Print size and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        write(results, n_models, n_tasks)
        started = time.perf_counter()
        page = svuprobe.report(results, kept or Path(folder, "report"))
        seconds = time.perf_counter() - started
        size = page.stat().st_size / 1e6
        print(f"{n_models} models x {n_tasks} tasks: {size:.2f} MB, made in {seconds:.1f} s")
        browser(page)


def browser(page: Path) -> None:
    """Print what a browser takes for the page; nothing is measured where there is none."""
    try:
        from selenium import webdriver
    except ImportError:
        print("no selenium: pip install selenium for the times in a browser")
        return
    from selenium.webdriver.chrome.service import Service

    driver_path = shutil.which("chromedriver")
    if driver_path is None:
        print("no chromedriver: Debian has it in chromium-driver, for the times in a browser")
        return
    options = webdriver.ChromeOptions()
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{word}")
    with tempfile.TemporaryDirectory() as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        try:
            driver.get(page.resolve().as_uri())
            paint = driver.execute_script(
                "return performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
            )
            sorting = driver.execute_script(_SORTING)
            print(f"first paint after {paint:.2f} s, sorting a column {sorting:.3f} s")
        finally:
            driver.quit()


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [int(word) for word in words[:2]] or [40, 16]
    main(numbers[0], numbers[1], Path(words[2]) if len(words) > 2 else None)
