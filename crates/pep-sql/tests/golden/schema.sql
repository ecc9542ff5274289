-- The database behind the golden files: a small shop, and everything an attacker could have left in it.
CREATE TABLE users (id bigint PRIMARY KEY, email text UNIQUE, name varchar(80), active boolean, note text);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE, status text, total numeric);
CREATE TABLE items (order_id bigint REFERENCES orders, line int, sku text, PRIMARY KEY (order_id, line));
CREATE TABLE logs (id bigserial, line text, at timestamptz DEFAULT now());
CREATE TABLE countries (code char(2) PRIMARY KEY, name text, area int);
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE events (id bigint, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE SEQUENCE counter;
INSERT INTO users SELECT n, 'u' || n || '@example.org', 'user ' || n, true, NULL FROM generate_series(1, 20) n;
INSERT INTO orders SELECT n, n, 'open', n FROM generate_series(1, 20) n;
INSERT INTO logs (line) SELECT 'line ' || n FROM generate_series(1, 20) n;
INSERT INTO parent VALUES (1, 1), (2, 2);

CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN INSERT INTO logs (line) VALUES ('written'); RETURN 1; END $$;
CREATE FUNCTION says_stable() RETURNS int LANGUAGE sql STABLE AS $$ SELECT 1 $$;
CREATE FUNCTION as_owner() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN DELETE FROM logs; RETURN 1; END $$;
CREATE FUNCTION shout(users) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO logs (line) VALUES ('shouted'); RETURN 'x'; END $$;
CREATE FUNCTION on_users() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO logs (line) VALUES ('trigger'); RETURN NEW; END $$;
CREATE FUNCTION in_place() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM logs; RETURN NULL; END $$;
CREATE PROCEDURE does(n int) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM logs; COMMIT; END $$;
CREATE TRIGGER note_users AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION on_users();

CREATE VIEW active_users AS SELECT id, email FROM users WHERE active;
CREATE VIEW sneaky AS SELECT writes() AS n;
CREATE VIEW outer_sneaky AS SELECT n FROM sneaky;
CREATE VIEW files AS SELECT pg_read_file('/etc/hostname') AS line;
CREATE VIEW ruled AS SELECT id, line FROM logs;
CREATE RULE turned AS ON UPDATE TO ruled DO INSTEAD DELETE FROM logs WHERE id = OLD.id;
CREATE VIEW instead AS SELECT id, line FROM logs;
CREATE TRIGGER in_place INSTEAD OF UPDATE ON instead FOR EACH ROW EXECUTE FUNCTION in_place();
CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id;

CREATE TABLE tenants (id int PRIMARY KEY, name text);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY peek ON tenants USING (writes() > 0);

CREATE FUNCTION checks(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO logs (line) VALUES ('checked'); RETURN true; END $$;
CREATE DOMAIN checked AS int CHECK (checks(VALUE));
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TYPE mood AS ENUM ('fine', 'not');

CREATE SCHEMA evil;
CREATE FUNCTION evil.plus(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logs (line) VALUES ('plus'); RETURN 0; END $$;
CREATE OPERATOR evil.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.plus);
CREATE FUNCTION evil.lower(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logs (line) VALUES ('lower'); RETURN ''; END $$;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logs (line) VALUES ('now'); RETURN NULL; END $$;
CREATE TABLE evil.users (id int, email text);
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (public.writes() > 0);
CREATE FUNCTION public.upper(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.logs (line) VALUES ('upper'); RETURN ''; END $$;

CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER far FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE remote (id int, line text) SERVER far;
CREATE TABLE near (id int, line text);
ALTER TABLE remote INHERIT near;

CREATE TABLE stamped (id int PRIMARY KEY, by int DEFAULT writes());
CREATE FUNCTION keyed(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE TABLE indexed (line text);
CREATE INDEX ON indexed (keyed(line));
CREATE TABLE typed (n checked);
CREATE FUNCTION public.pg_sleep(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM logs; RETURN 1; END $$;
