"""What happens in the datasets between runs, as SQL. Nothing else lives here."""

from __future__ import annotations

import re

from reference_rules import property_name

_CHINOOK = """
    UPDATE Customer SET Company = 'zoë & søn', Fax = NULL WHERE CustomerId = 1;
    UPDATE Customer SET Email = Email WHERE CustomerId = 2;
    UPDATE Employee SET BirthDate = '1899-12-31 23:59:59' WHERE EmployeeId = 3;
    UPDATE Invoice SET Total = Total + 1 WHERE InvoiceId <= 25;
    UPDATE InvoiceLine SET UnitPrice = 2 WHERE InvoiceLineId = 9;
    INSERT INTO Artist VALUES (276, '日本語 – ελληνικά');
    INSERT INTO Genre VALUES (26, NULL);
    INSERT INTO PlaylistTrack VALUES (18, 1);
    DELETE FROM PlaylistTrack WHERE PlaylistId = 17;
"""


def chinook(engine: str) -> str:
    """Updates, one of them without effect; additions; a deletion. PostgreSQL's edition has snake_case names."""
    if engine != "postgres":
        return _CHINOOK
    return re.sub(r"\b(?:[A-Z][a-z]+)+\b", lambda found: property_name(found[0]), _CHINOOK)


#: the one rental that is newer than 16,042 others joins them, so that the watermark itself is a tie
PAGILA_TIE = """
    SET session_replication_role = replica;
    UPDATE rental SET last_update = '2022-02-16 02:30:53+00' WHERE rental_id = 14098;
"""
PAGILA_ONE = "UPDATE rental SET return_date = now() WHERE rental_id = 2"
#: under `replica` the triggers that move last_update sleep
PAGILA = """
    UPDATE actor SET last_name = 'ÖLÇÜ' WHERE actor_id = 5;
    UPDATE film SET special_features = '{"a,b","c\\"d",NULL,""}', rating = NULL, length = NULL WHERE film_id = 2;
    UPDATE film SET rental_rate = 10, release_year = 1901 WHERE film_id = 3;
    UPDATE staff SET picture = decode(repeat('ff', 30000), 'hex') WHERE staff_id = 1;
    UPDATE staff SET picture = decode(repeat('00', 1000), 'hex'), active = false WHERE staff_id = 2;
    SET session_replication_role = replica;
    INSERT INTO language VALUES (7, 'Klingon', '2022-02-15 10:02:19+00');
    INSERT INTO country VALUES (110, 'Long ago', '1999-01-01 00:00:00+00');
    UPDATE country SET country = 'Tied' WHERE country_id = 1;
    UPDATE customer SET last_update = NULL, email = '' WHERE customer_id = 7;
    UPDATE address SET address2 = 'tied as well' WHERE address_id = 9;
    UPDATE address SET last_update = '2022-02-15 09:40:30+00', district = 'edge of the lookback' WHERE address_id = 1;
    UPDATE address SET last_update = '2022-02-15 09:40:29.999999+00', district = 'beyond it' WHERE address_id = 2;
    UPDATE rental SET return_date = NULL WHERE rental_id = 5;
    DELETE FROM film_actor WHERE actor_id = 1;
    INSERT INTO payment VALUES (1, 1, 1, 1, 0.1, '2022-03-01 00:00:00.5+05:30');
    UPDATE payment SET amount = -amount WHERE payment_id = 16051;
"""
PAGILA_REPAIRS = "UPDATE staff SET picture = '' WHERE staff_id = 1"

#: most payments and rentals are Pagila's, which has them all
SAKILA_LESS = """
    SET FOREIGN_KEY_CHECKS = 0;
    DELETE FROM payment WHERE payment_id > 2000;
    DELETE FROM rental WHERE rental_id > 4000;
"""
SAKILA = """
    SET time_zone = '+00:00';
    UPDATE film SET title = 'ÖLÇÜ', special_features = '', rating = NULL, release_year = 1901 WHERE film_id = 2;
    UPDATE customer SET active = 0, email = NULL WHERE customer_id = 3;
    INSERT INTO language VALUES (7, 'Klingon', (SELECT last_update FROM language l WHERE l.language_id = 1));
    INSERT INTO country VALUES (110, 'Long ago', '1999-01-01 00:00:00');
    UPDATE country SET country = 'Tied', last_update = last_update WHERE country_id = 1;
    DELETE FROM film_actor WHERE actor_id = 1;
    UPDATE rental SET rental_date = '2005-10-30 01:30:00', return_date = '2005-04-03 02:30:00' WHERE rental_id = 4;
"""
SAKILA_REPAIRS = "UPDATE staff SET picture = LEFT(picture, 100) WHERE staff_id = 1"

_ZOO_POSTGRES = """
    SET timezone = 'UTC';
    UPDATE zoo SET c_date = 'infinity' WHERE id = 1;
    UPDATE zoo SET c_date = '0001-01-01', c_ts = '0001-01-01', c_tstz = '9999-12-31 23:59:59.999999Z' WHERE id = -1;
    UPDATE zoo SET c_text = repeat('é', 16383) || 'x', updated_at = '2024-01-01 00:00:00.000002Z'
        WHERE id = 9007199254740993;
    INSERT INTO zoo (id, note, c_text, updated_at) VALUES
        (6, 'one byte too much', repeat('é', 16384), '2024-01-01Z'),
        (7, 'edge of the lookback', E'\\u2028\\u0001\\u007f', '2023-12-31 23:55:00.000001Z'),
        (8, 'beyond it', 'unseen', '2023-12-31 23:54:59.999999Z');
    UPDATE zoo SET c_num = 1e30, c_real = 16777217, c_double = 1e22, c_interval = '-00:00:00.000001',
        c_jsonb = '"\\" :  \\\\"', c_textarr = '{"\\\\\\""}' WHERE id = 7;
    UPDATE zoo_ck SET v = 'tied' WHERE tenant = 'ключ';
    UPDATE zoo_ck SET v = 'unseen' WHERE tenant = 't0' AND "orderNo" = 0;
    UPDATE zoo_ck SET updated_at = '2100-01-01Z' WHERE tenant = 't0' AND "orderNo" = 1;
    INSERT INTO zoo_ck VALUES
        ('a\\', 1, 'backslash', '2024-02-01Z'), ('a:b ', 1, 'blank', '2024-02-01Z'), ('', 1, 'tie', '2024-02-01Z'),
        ('A', -1, 'capital', '2024-02-01Z'), (repeat('long', 30), 1, 'digest', '2024-02-01Z'),
        (repeat('long', 30) || 'er', 1, 'another', '2024-02-01Z');
    UPDATE "MixedCase Table" SET "order" = 4, "$price" = 12 WHERE "Id" = 2;
    INSERT INTO zoo_empty VALUES (0, 'first');
    UPDATE zoo_wide SET c400 = NULL;
"""
_ZOO_MARIADB = """
    SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';
    UPDATE zoo SET c_dt = '0000-00-00' WHERE id = 1;
    UPDATE zoo SET c_date = '0001-01-01', c_dt = '0001-01-01' WHERE id = 0;
    UPDATE zoo SET c_text = CONCAT(REPEAT('é', 16383), 'x'), c_blob = REPEAT('x', 24573),
        updated_at = '2024-01-01 00:00:00.000002' WHERE id = 18446744073709551615;
    INSERT INTO zoo (id, note, c_text, updated_at) VALUES
        (6, 'one byte too much', REPEAT('é', 16384), '2024-01-01'),
        (7, 'edge of the lookback', '\\0 \\Z', '2023-12-31 23:55:00.000001'),
        (8, 'beyond it', 'unseen', '2023-12-31 23:54:59.999999');
    UPDATE zoo SET c_float = 16777217, c_double = 1e22, c_bit12 = 4095, c_varbin = '\\0', c_time = '-00:00:00.000001',
        c_json = '"\\\\" :  \\\\\\\\"' WHERE id = 7;
    UPDATE zoo_ck SET v = 'tied', updated_at = updated_at WHERE tenant = 'ключ';
    UPDATE zoo_ck SET v = 'unseen', updated_at = updated_at WHERE tenant = 't0' AND orderNo = 0;
    UPDATE zoo_ck SET updated_at = '2037-01-01' WHERE tenant = 't0' AND orderNo = 1;
    INSERT INTO zoo_ck VALUES
        ('a\\\\', 1, 'backslash', '2024-02-01'), (' a:b', 1, 'blank', '2024-02-01'), ('', 1, 'tie', '2024-02-01'),
        ('A', -2, 'capital', '2024-02-01');
    UPDATE `MixedCase Table` SET `order` = 4, `$price` = 12 WHERE `Id` = 2;
    INSERT INTO zoo_empty VALUES (0, 'first');
"""
_ZOO_SQLITE = """
    UPDATE zoo SET c_int = 'abc' WHERE id = 1;
    UPDATE zoo SET c_int = 1, c_big = 2, c_real = 9e999, c_dec = 100, c_bool = 0,
        c_date = '2024-02-29', c_dt = '0001-01-01', c_ts = '9999-12-31 23:59:59.999999+14:00',
        c_json = ' [ 1e400 , "a \\" b" ] ' WHERE id = -1;
    UPDATE zoo SET c_dt = '2024-02-29', c_text = c_text || x'00' WHERE id = 5;
    INSERT INTO zoo (id, note, c_text, c_blob, c_none, c_weird, updated_at) VALUES
        (6, 'one byte too much', printf('%.*c', 32768, 'x'), NULL, NULL, NULL, '2024-01-01'),
        (7, 'just fits', printf('%.*c', 32767, 'x'), zeroblob(24573), 1e22, -0.0, '2024-01-01'),
        (8, 'a number in a text column is text', 1.0, x'', 1, 1.0, '2024-01-01');
    UPDATE zoo_ck SET v = 'tied' WHERE tenant = 'ключ';
    UPDATE zoo_ck SET v = 'unseen' WHERE tenant = 't0' AND orderNo = 0;
    UPDATE zoo_ck SET updated_at = '2100-01-01T00:00:00Z' WHERE tenant = 't0' AND orderNo = 1;
    INSERT INTO zoo_ck VALUES
        ('a\\', 1, 'backslash', '2024-02-01T00:00:00Z'), ('a:b ', 1, 'blank', '2024-02-01T00:00:00Z'),
        ('', 1, 'tie', '2024-02-01T00:00:00Z'), ('A', -1, 'capital', '2024-02-01T00:00:00Z');
    UPDATE "MixedCase Table" SET "order" = 4, "$price" = 12 WHERE "Id" = 2;
    INSERT INTO zoo_empty VALUES (0, 'first');
    UPDATE zoo_nullpk SET k = 'now it has one' WHERE v = 'twice';
"""
ZOO = {"postgres": _ZOO_POSTGRES, "mariadb": _ZOO_MARIADB, "sqlite": _ZOO_SQLITE}
#: a row of the present, after one of the future
ZOO_LATER = {
    "postgres": "INSERT INTO zoo_ck VALUES ('now', 1, 'seen', now())",
    "mariadb": "INSERT INTO zoo_ck (tenant, orderNo, v) VALUES ('now', 1, 'seen')",
    "sqlite": "INSERT INTO zoo_ck VALUES ('now', 1, 'seen', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
}
#: what is refused becomes another row, or goes
ZOO_REPAIRS = {
    "postgres": "UPDATE zoo SET c_date = '2025-01-01' WHERE id = 1; DELETE FROM zoo WHERE id = 6",
    "mariadb": "UPDATE zoo SET c_dt = '2025-01-01' WHERE id = 1; DELETE FROM zoo WHERE id = 6",
    "sqlite": "UPDATE zoo SET c_int = 2 WHERE id = 1; DELETE FROM zoo WHERE id = 6",
}
