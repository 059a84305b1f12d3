"""compose/compose.yaml and what stands beside it: what no Docker engine is needed for to see that it cannot work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.loading import load, load_definitions
from sagaline.orchestrator.runtime.exposition import prometheus_name
from sagaline.orchestrator.runtime.metrics import INSTRUMENTS, Kind
from sagaline.workers import Worker
from tests.broker import kafka
from tests.repo.tree import ROOT

COMPOSE = ROOT / "compose"
FILE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
IMAGE = SERVICES["topics"]["image"]
OWN = {name: service for name, service in SERVICES.items() if service["image"] == IMAGE}
NODES = [name for name in SERVICES if name.startswith("kafka-")]
DOCKERFILE = (COMPOSE / "Dockerfile").read_text()
UNWATCHED = {"topics": "ends by itself", "otel-collector": "its image has no program but the collector's"}
PINNED = re.compile(r"[a-z0-9/-]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?")


def test_every_image_is_pinned_by_its_version() -> None:
    images = {service["image"] for service in SERVICES.values()} - {IMAGE}
    images |= set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert len(images) > 6
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert {SERVICES[node]["image"] for node in NODES} == {f"apache/kafka:{kafka.version()}"}


@pytest.mark.parametrize("image", ["grafana/grafana", "grafana/grafana:latest", "postgres:16"])
def test_the_pin_check_catches_what_moves(image: str) -> None:
    assert not PINNED.fullmatch(image)


@pytest.mark.parametrize("name", OWN)
def test_the_command_line_takes_what_a_service_is_started_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed as ``saga`` parses it, and the sagas and workers that it names are there."""
    monkeypatch.setenv("CHECKOUT_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.chdir(COMPOSE)
    context = typer.main.get_command(app).make_context("saga", list(OWN[name]["command"]))
    while getattr(context.command, "commands", None):
        chosen, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
        assert command is not None, chosen
        context = command.make_context(chosen, rest, parent=context)
    if workers := context.params.get("workers"):
        assert [worker.name for worker in load(workers, Worker)] == [name]
    else:
        assert [saga.name for saga in load_definitions(context.params["sagas"])] == ["order-checkout"]


def test_every_service_is_looked_after() -> None:
    missing = {name for name, service in SERVICES.items() if "test" not in service.get("healthcheck", {})}
    assert missing == set(UNWATCHED)
    assert {name for name, service in SERVICES.items() if service["restart"] == "no"} == {"topics"}
    alerts = (COMPOSE / "prometheus" / "alerts.yml").read_text()
    (job,) = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "otel-collector"
    assert json.dumps('up{job="otel-collector"} == 0') in alerts


def test_only_the_api_and_grafana_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_all_of_ours_wait_until_the_topics_are_made_and_the_image_is_built() -> None:
    """Two services that build one image can be in each other's way."""
    waiting = {name for name, service in OWN.items() if "topics" in service["depends_on"]}
    assert waiting == set(OWN) - {"topics"}
    assert set(OWN["topics"]["depends_on"]) == set(NODES)


def test_our_containers_have_no_rights_and_change_no_file_of_the_image() -> None:
    assert set(OWN) == {"topics", "engine-1", "engine-2", "inventory", "payment", "shipping", "api"}
    for service in OWN.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert int(re.findall(r"^USER (\d+)$", final, re.M)[-1]) > 0
    assert "pip uninstall" in final
    assert "apt-get" not in DOCKERFILE


def test_every_topic_has_three_replicas_two_of_them_in_sync() -> None:
    assert len(NODES) == 3
    for number, node in enumerate(NODES, 1):
        given = SERVICES[node]["environment"]
        assert given["KAFKA_NODE_ID"] == str(number)
        assert given["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{node}:9092"
        assert given["KAFKA_CONTROLLER_QUORUM_VOTERS"] == ",".join(f"{n}@kafka-{n}:9093" for n in (1, 2, 3))
        assert {value for name, value in given.items() if name.endswith("REPLICATION_FACTOR")} == {"3"}
        assert {value for name, value in given.items() if "MIN_I" in name} == {"2"}
        assert SERVICES[node]["volumes"] == [f"{node}:/var/lib/kafka/data"]
    for service in OWN.values():
        assert service["environment"]["SAGALINE_LOG"] == f"kafka://{','.join(f'{node}:9092' for node in NODES)}"


def test_what_one_process_counts_is_told_from_what_another_does() -> None:
    told = {name: service["environment"].get("OTEL_RESOURCE_ATTRIBUTES") for name, service in OWN.items()}
    assert told == {name: f"service.instance.id={name}" if name != "topics" else None for name in OWN}


def test_every_file_that_is_named_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (COMPOSE / source).exists() if source.startswith("./") else source in FILE["volumes"], volume
    (build,) = (service["build"] for service in SERVICES.values() if "build" in service)
    assert (COMPOSE / build["context"]).samefile(ROOT)
    assert (ROOT / build["dockerfile"]).samefile(COMPOSE / "Dockerfile")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        assert all((ROOT / source).exists() for source in sources.split()), sources
    assert (ROOT / "requirements" / "image.txt").is_file()
    prometheus = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())
    assert all((COMPOSE / "prometheus" / name).is_file() for name in prometheus["rule_files"])


def test_what_is_built_is_not_kept_from_the_build() -> None:
    kept = {line[1:] for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert [name for name in kept if not (ROOT / name).exists()] == []
    assert {"sagaline", "sagas", "orchestrator", "workers", "api", "requirements"} <= kept


def test_every_variable_has_a_value_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (COMPOSE / "compose.yaml").read_text()))
    example = dict(line.split("=", 1) for line in (COMPOSE / ".env.example").read_text().splitlines() if line[0] != "#")
    assert used == set(example)
    secrets = {value for name, value in example.items() if name.endswith(("PASSWORD", "TOKEN"))}
    assert secrets == {"local-development-only"}
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_spans_and_counts_reach_those_who_show_them() -> None:
    collector = yaml.safe_load((COMPOSE / "otel-collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert {s["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] for s in OWN.values()} == {f"http://otel-collector:{port}"}
    assert collector["exporters"]["otlp/jaeger"]["endpoint"].partition(":")[0] in SERVICES
    (job,) = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    metrics_port = collector["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    assert job["static_configs"] == [{"targets": [f"otel-collector:{metrics_port}"]}]


def test_the_dashboard_shows_data_sources_that_are_provisioned() -> None:
    provisioning = COMPOSE / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "sagaline.yaml").read_text())["datasources"]
    assert all(source["url"].split("/")[2].partition(":")[0] in SERVICES for source in sources)
    board = json.loads((COMPOSE / "grafana" / "dashboards" / "sagaline.json").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"] for source in sources}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "sagaline.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


KNOWN = {
    prometheus_name(f"sagaline.{name}", each.unit, counter=each.kind is Kind.COUNTER)
    for name, each in INSTRUMENTS.items()
}
"""The instruments as Prometheus writes them; tests/unit/test_metrics.py compares them with docs/operations.md."""
LABELS = {f"sagaline_{label}" for each in INSTRUMENTS.values() for label in each.labels}


def asked(text: str) -> set[str]:
    """The instruments that queries ask for; the series of a histogram count as its name."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bsagaline_[a-z_]+", text)}


def test_what_is_shown_and_watched_is_measured() -> None:
    board = (COMPOSE / "grafana" / "dashboards" / "sagaline.json").read_text()
    alerts = (COMPOSE / "prometheus" / "alerts.yml").read_text()
    assert len(asked(board)) > 8
    assert len(asked(alerts)) > 4
    assert asked(board + alerts) - KNOWN - LABELS == set()


def test_a_misspelt_instrument_is_found() -> None:
    assert asked("rate(sagaline_decisions_total[1m]) / sagaline_runs_duration_seconds_bucket") <= KNOWN
    assert asked("sagaline_decision_total") - KNOWN - LABELS
