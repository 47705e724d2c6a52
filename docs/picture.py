"""Render an HTML report to PNG by headless Chromium: ``python -m docs.picture out/demo/report.html docs/demo.png``."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import click

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-sandbox",  # The page is our own file, and Chromium refuses to run as root otherwise.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=10000",
)


@click.command()
@click.argument("html", type=click.Path(path_type=Path))
@click.argument("png", type=click.Path(path_type=Path))
@click.option("--size", default="1500x1180", show_default=True, metavar="WIDTHxHEIGHT", help="Size of the window.")
def main(html: Path, png: Path, size: str) -> None:
    """Render the file HTML to the file PNG."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise click.ClickException("chromium not found: apt-get install chromium")
    if not html.is_file():
        raise click.ClickException(f"{html} is not there: make demo writes it")
    with tempfile.TemporaryDirectory() as profile:
        shot = [
            f"--screenshot={png.resolve()}",
            f"--window-size={size.replace('x', ',')}",
            f"--user-data-dir={profile}",
        ]
        command = [browser, *FLAGS, *shot, html.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 or not png.is_file():
        raise click.ClickException(f"chromium drew no picture: {done.stderr.strip().splitlines()[-1:]}")
    click.echo(f"{png}: {png.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
