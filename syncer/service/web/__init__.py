"""The status page: how every mapping stands, what its runs did, `/metrics`, `/healthz` and `/readyz`."""

from syncer.service.web.server import serve_web
from syncer.service.web.watch import Watch

__all__ = ["Watch", "serve_web"]
