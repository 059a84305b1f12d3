"""Settings of every process: from arguments, then ``SAGALINE_*`` environment variables, then the defaults here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]


class Settings(BaseSettings):
    """All settings. ``log`` is ``sqlite:///path`` or ``kafka://host:port[,host:port]``."""

    model_config = SettingsConfigDict(env_prefix="SAGALINE_", extra="ignore", frozen=True)

    log: str = Field(
        default="sqlite:///sagaline.db", description="the log: sqlite:///path or kafka://host:port[,host:port]"
    )
    namespace: str = Field(default="sagaline", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="prefix of every topic")
    partitions: int = Field(default=4, ge=1, le=1024, description="of inputs, state, history and every command topic")
    development: bool = Field(default=False, description="allows one replica, creates topics at start, plain-text logs")
    replication_factor: int = Field(default=3, ge=1, le=9, description="of topics that are created on Kafka")
    read_model: str | None = Field(
        default=None, repr=False, description="sqlite:///path or postgresql://…; default: the log's own SQLite file"
    )
    member_timeout: timedelta = Field(
        default=timedelta(seconds=6),
        ge=timedelta(seconds=1),
        description="after this time without a heartbeat a process loses its partitions",
    )
    host: str = Field(default="127.0.0.1", description="where the API listens")
    port: int = Field(default=8080, ge=0, le=65535)
    health_host: str = Field(default="127.0.0.1", description="where /livez, /readyz and /metrics of a process listen")
    health_port: int | None = Field(default=None, ge=0, le=65535, description="their port; default: they do not")
    api_tokens: tuple[SecretStr, ...] = Field(default=(), description="bearer tokens; needed to listen beyond loopback")
    session_key: SecretStr | None = Field(
        default=None, description="signs sessions of browsers, the same on every node; default: derived from api_tokens"
    )
    oidc_issuer: str | None = Field(default=None, description="identity provider whose tokens the API accepts")
    oidc_audience: str | None = Field(default=None, description="for whom its tokens are; default: the namespace")
    oidc_jwks: str | None = Field(default=None, description="its keys: https URL or file; needed with oidc_issuer")
    oidc_name_claim: str = "sub"
    oidc_role_claim: str = "roles"
    oidc_groups_claim: str = "groups"
    oidc_roles: dict[str, str] | None = Field(default=None, description="role of each value of the role claim")
    tls_cert: Path | None = Field(default=None, description="certificate chain of the API, PEM; with tls_key")
    tls_key: Path | None = Field(default=None, description="private key of tls_cert, PEM")
    webhook_keys: tuple[SecretStr, ...] = Field(
        default=(), description="what the secrets of webhooks are derived from, the newest first; 32 characters or more"
    )
    hook_secrets: dict[str, tuple[SecretStr, ...]] = Field(
        default={}, description="by the name of a hook, the secrets that its sender has chosen"
    )
    webhook_networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="networks that webhooks may reach though they are not public, such as 10.1.0.0/16"
    )
    webhook_plain_http: bool = Field(default=False, description="webhooks may also be http, which anybody can read")
    push_key: SecretStr | None = Field(
        default=None, description="the key for push messages, or the file that has it; from: saga push key"
    )
    push_networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="networks that push messages may reach though they are not public; any viewer can"
    )
    push_contact: str = Field(default="", description="whom push services can reach: mailto:… or https://…")
    personal_keys: tuple[SecretStr, ...] = Field(
        default=(), description="what seals the keys of persons, the newest first: id:base64 of 32 bytes"
    )
    payload_keys: tuple[SecretStr, ...] = Field(
        default=(), description="what seals every record at rest, the newest first: id:base64 of 32 bytes"
    )
    log_format: Literal["console", "json"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("log")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "kafka://")):
            raise ValueError("give sqlite:///path/to/file.db or kafka://host:port")
        return value

    @field_validator("webhook_keys")
    @classmethod
    def _hard_to_guess(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(each.get_secret_value()) < 32 for each in value):
            raise ValueError("a key is shorter than 32 characters; make one with: openssl rand -base64 32")
        return value

    @property
    def kafka(self) -> str | None:
        """The bootstrap servers if the log is Kafka."""
        return self.log.removeprefix("kafka://") if self.log.startswith("kafka://") else None

    @property
    def sqlite_path(self) -> str | None:
        """The file if the log is SQLite."""
        return self.log.removeprefix("sqlite:///") if self.log.startswith("sqlite:///") else None

    @property
    def read_model_url(self) -> str:
        """The read model's database: as set, else the log's own file, or on Kafka a file in the working directory."""
        if self.read_model:
            return self.read_model
        return f"sqlite:///{self.sqlite_path or f'{self.namespace}-read-model.db'}"
