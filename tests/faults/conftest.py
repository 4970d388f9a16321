from tests.unit.nats.conftest import run

__all__ = ["run"]
