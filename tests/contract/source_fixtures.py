"""The fixture `house`: the rooms on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from contract.source_rooms import MOMENTS, ROOMS, House

from syncer.source import open_source


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def house(request: pytest.FixtureRequest, execute_sql: Callable[[str, str], None]) -> Iterator[House]:
    url = request.getfixturevalue(f"{request.param}_url")
    execute_sql(url, ROOMS.format(moment=MOMENTS[request.param]))
    source = open_source("app", url)
    yield House(engine=request.param, url=url, source=source, execute=execute_sql)
    source.close()
