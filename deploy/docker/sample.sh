#!/bin/sh
# The sample: a database `app` to read, and one of its own for the state. Run once, by PostgreSQL's image.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname app \
    --set reader="$READER_PASSWORD" --set state="$STATE_PASSWORD" <<'SQL'
CREATE ROLE reader LOGIN PASSWORD :'reader';
CREATE ROLE syncer LOGIN PASSWORD :'state';
CREATE DATABASE syncer OWNER syncer;

CREATE TABLE hosts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    city text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE rooms (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_id bigint NOT NULL REFERENCES hosts,
    name text NOT NULL,
    nightly_price numeric(10, 2) NOT NULL,
    review_count integer NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX hosts_updated_at ON hosts (updated_at);
CREATE INDEX rooms_updated_at ON rooms (updated_at);

INSERT INTO hosts (name, city)
SELECT 'Host ' || number, (ARRAY['Lisbon', 'Zürich', 'Kyoto', 'Oaxaca'])[1 + number % 4]
FROM generate_series(1, 50) AS number;
INSERT INTO rooms (host_id, name, nightly_price, review_count)
SELECT 1 + number % 50, 'Room ' || number, 40 + number % 200, number % 90
FROM generate_series(1, 2000) AS number;

-- all that syncer needs of a source
GRANT SELECT ON hosts, rooms TO reader;
SQL
