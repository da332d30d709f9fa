"""A local Segment Objects API and Bulk API, strict on every documented limit, merging into a SQLite warehouse.

For trying things out, for the demo and for tests; nothing it receives leaves the machine.

    exact          JSON whose numbers keep every digit               pure
    rules          what `POST /v1/set` accepts                       pure
    bulk_rules     what a bulk upload may be, line by line           pure
    bulk_sessions  bulk sessions: whose, holding what, until when    pure
    tables         collections and properties as tables, columns     pure
    faults         which requests fail, and how                      pure, seeded
    spool          uploaded parts until their session ends, on disk
    warehouse      the SQLite file
    answers        what the endpoints share
    bulk           the bulk API's endpoints
    app            the HTTP surface: create_app
    server         where it listens: serving, running, run_forever

Each API has its rules in a file of its own; the warehouse, the faults and the server are shared. Nothing here
may import the code that sends: the sandbox is a second opinion on it.
"""
