"""``autoscaler run``: the controller."""

import asyncio
import atexit
import logging
import math
import os
import re
import secrets
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import click

from autoscaler.adapters.kube import KubeApi, KubeError, connect
from autoscaler.adapters.prometheus import Endpoint, Prometheus, PrometheusError
from autoscaler.adapters.store import Fault, Retention, Store, StoreError, open_or_quarantine
from autoscaler.cli.reading import STORE_VARIABLE
from autoscaler.controller.book import Book
from autoscaler.controller.eyes import PrometheusEyes
from autoscaler.controller.handlers import Controller, Eyes, Options
from autoscaler.footprint.prices import PriceList, PriceListError
from autoscaler.pricelist import read_prices, shipped_prices

logger = logging.getLogger("autoscaler")

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DAY_S = 86_400.0
# A shutdown that hangs on a library is ended: nothing is half-written, the journal is one transaction a tick.
_STOP_WITHIN_S = 4.5
# What answers there is no Prometheus, or not to us: waiting would not mend it.
_WRONG_ADDRESS = frozenset({"auth", "configuration", "http", "not-prometheus", "redirect", "tls", "token"})


# What may be over in a minute, and must not keep a restarted controller from scaling. A volume that became read-only is
# another such fault, told from a path without rights by a store that is there and can be read.
_MAY_PASS = frozenset({Fault.FULL, Fault.LOCKED, Fault.UNREACHABLE})

# RFC 1123, as the API server checks it.
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _not_nan(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    # No comparison holds for NaN, so that a range lets it through, and no tick would ever be due.
    if math.isnan(value):
        raise click.BadParameter("nan is no number; give one of the range in --help")
    return value


def _namespaces(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...] | None:
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise click.BadParameter(
                f"{name!r} cannot be a namespace's name; write lower-case letters, digits and '-', or all"
            )
    return None if not names or "all" in names else names


@click.command()
@click.option(
    "--prometheus",
    "prometheus",
    multiple=True,
    required=True,
    metavar="NAME=URL",
    help="A Prometheus and the name by which policies call it (spec.prometheus); a URL alone is called default.",
)
@click.option("--prometheus-token-file", type=click.Path(path_type=Path), help="Bearer token for every Prometheus.")
@click.option("--prometheus-ca-file", type=click.Path(path_type=Path), help="CA certificate for every Prometheus.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; inside a cluster none is needed.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option(
    "--store",
    default="",
    metavar="URL",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="Journal and ledger: a path or SQLAlchemy URL; empty: none.",
)
@click.option(
    "--keep-journal-days",
    "--journal-days",
    "journal_days",
    default=14.0,
    show_default=True,
    type=click.FloatRange(0.01, 3650.0),
    callback=_not_nan,
    envvar="INFERENCE_AUTOSCALER_KEEP_JOURNAL_DAYS",
    show_envvar=True,
    help="Keep journal entries for so long; what the ledger has of before is then in hours instead of five minutes.",
)
@click.option(
    "--keep-ledger-days",
    "ledger_days",
    default=400.0,
    show_default=True,
    type=click.FloatRange(1.0, 36_500.0),
    callback=_not_nan,
    envvar="INFERENCE_AUTOSCALER_KEEP_LEDGER_DAYS",
    show_envvar=True,
    help="Keep the ledger for so long.",
)
@click.option(
    "--journal-gib",
    default=1.5,
    show_default=True,
    type=click.FloatRange(0.01, 10_000.0),
    callback=_not_nan,
    envvar="INFERENCE_AUTOSCALER_JOURNAL_GIB",
    show_envvar=True,
    help="Keep an SQLite store below this size: beyond it the oldest journal entries go, never the ledger.",
)
@click.option("--prices", type=click.Path(path_type=Path), help="Your price list; default: the shipped list prices.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NS",
    callback=_namespaces,
    help="Watch this namespace alone; repeatable. Or: all.",
)
@click.option("--tick-seconds", default=15.0, show_default=True, type=click.FloatRange(0.1, 3600.0), callback=_not_nan)
@click.option("--listen", default=":8080", show_default=True, metavar="[HOST]:PORT", help="For /healthz and /metrics.")
@click.option("--allow-custom-queries", is_flag=True, help="Let policies bring PromQL of their own.")
@click.option("--leader-election/--no-leader-election", default=True, help="Share the cluster with other controllers.")
@click.option("--lease-namespace", help="Namespace of the Lease; default: the pod's own, or inference-autoscaler.")
@click.option("--verbose", is_flag=True, help="Log what is usually only interesting to developers.")
def run(
    *,
    prometheus: tuple[str, ...],
    prometheus_token_file: Path | None,
    prometheus_ca_file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    store: str,
    journal_days: float,
    ledger_days: float,
    journal_gib: float,
    prices: Path | None,
    namespaces: tuple[str, ...] | None,
    tick_seconds: float,
    listen: str,
    allow_custom_queries: bool,
    leader_election: bool,
    lease_namespace: str | None,
    verbose: bool,
) -> None:
    """Run the controller against a cluster, until SIGTERM or Ctrl-C.

    For example: autoscaler run --prometheus default=http://localhost:9090 --store ./journal.db
    """
    _log_to_stderr(verbose=verbose)
    host, port = _address(listen)
    endpoints = _endpoints(prometheus, prometheus_token_file, prometheus_ca_file)
    options = Options(
        tick_s=tick_seconds,
        namespaces=namespaces,
        host=host,
        port=port,
        identity=f"{socket.gethostname()}_{secrets.token_hex(4)}" if leader_election else None,
        lease_namespace=lease_namespace or _own_namespace(),
        prices=_price_list(prices),
    )
    api = _connected(kubeconfig, context)
    book = _book(store, _retention(journal_days, ledger_days, journal_gib))
    clients = {name: Prometheus(endpoint) for name, endpoint in endpoints.items()}
    eyes = PrometheusEyes(clients, allow_queries=allow_custom_queries)
    try:
        asyncio.run(_main(api, options, clients, eyes, book))
    except KubeError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"--listen {listen}: {error.strerror or error}; choose another port") from error
    finally:
        eyes.close()
        book.close()
    # Threads of libraries may still wait for a network that is not there; everything of ours is done. What libraries
    # put away at the end is: the Kubernetes client keeps a kubeconfig's keys in temporary files.
    atexit._run_exitfuncs()
    os._exit(0)


async def _main(
    api: KubeApi, options: Options, clients: dict[str, Prometheus], eyes: PrometheusEyes, book: Book
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stopping, loop, stop)
    for client in clients.values():
        try:
            await client.check()
        except PrometheusError as error:
            if error.kind in _WRONG_ADDRESS:
                raise click.ClickException(str(error)) from error
            # A Prometheus that is down now may be up in a minute, and policies hold until then: no reason to exit.
            logger.warning("%s", error)
    await Controller(api, options, eyes=Eyes(refresh=eyes.refresh, pick=eyes.pick), book=book).run(stop)


def _retention(journal_days: float, ledger_days: float, journal_gib: float) -> Retention:
    if ledger_days < journal_days:
        raise click.BadParameter(
            f"--keep-ledger-days {ledger_days:g} is less than --keep-journal-days {journal_days:g}; the ledger is what "
            "is kept for longer"
        )
    journal_s = journal_days * DAY_S
    return Retention(
        entries_s=journal_s, buckets_s=journal_s, ledger_s=ledger_days * DAY_S, most_bytes=int(journal_gib * 2**30)
    )


def _price_list(path: Path | None) -> PriceList:
    try:
        return shipped_prices() if path is None else read_prices(path)
    except (OSError, PriceListError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.ClickException(f"--prices {path}: {reason}; give a file of the shipped form") from error


def _stopping(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not stop.is_set():
        logger.info("stopping")
        loop.call_later(_STOP_WITHIN_S, os._exit, 0)
    stop.set()


def _endpoints(given: tuple[str, ...], token_file: Path | None, ca_file: Path | None) -> dict[str, Endpoint]:
    endpoints: dict[str, Endpoint] = {}
    for text in given:
        name, found, url = text.partition("=")
        if not found or "/" in name:
            name, url = "default", text
        if not name or name in endpoints:
            raise click.BadParameter(
                f"the name {name!r} is given twice or is empty: every Prometheus needs one of its own, "
                "e.g. default=http://host:9090"
            )
        try:
            endpoints[name] = Endpoint(name=name, url=url, bearer_token_file=token_file, ca_file=ca_file)
        except PrometheusError as error:
            # Not the text itself: it may hold a password.
            raise click.BadParameter(f"--prometheus {name}: {error.reason}") from error
    return endpoints


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise click.BadParameter(f"--listen {listen!r} is no address; give e.g. :8080 or 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def _connected(kubeconfig: Path | None, context: str | None) -> KubeApi:
    try:
        return connect(kubeconfig, context)
    except KubeError as error:
        raise click.ClickException(str(error)) from error


def _book(url: str, retention: Retention) -> Book:
    """Return the journal of a store. One that only cannot be written now is opened later: targets are scaled meanwhile.

    Raises:
        click.ClickException: the store will not come by waiting.
    """
    if not url:
        logger.warning("no --store: journal and ledger are not kept, and a restart begins without memory")
        return Book(None)
    try:
        return Book(_opened(url), retention=retention)
    except StoreError as error:
        reader = _readable(url)
        if error.fault not in _MAY_PASS and (error.fault is not Fault.UNWRITABLE or reader is None):
            raise click.ClickException(f"--store: {error}") from error
        logger.warning("journal and ledger are not written for now, scaling goes on without them: %s", error)
        return Book(None, retention=retention, reopen=partial(_opened, url), reader=reader)


def _opened(url: str) -> Store:
    store, message = open_or_quarantine(url, time.time())
    if message is not None:
        logger.warning("%s", message)
    return store


def _readable(url: str) -> Store | None:
    try:
        return Store.open(url, read_only=True)
    except StoreError:
        return None


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "inference-autoscaler"


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s", force=True
    )
    logging.getLogger("autoscaler").setLevel(logging.DEBUG if verbose else logging.INFO)
    # The watch's own words are for developers; what matters of them the supervisor tells.
    for name in ("aiohttp", "urllib3", "kubernetes", "alembic"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    # kopf tells each of its ends by whole tracebacks, as errors.
    logging.getLogger("kopf").setLevel(logging.INFO if verbose else logging.CRITICAL)
