// Runs the same work over any connection and prints what came of it, as JSON.
const { Client } = require("pg");

async function main([host, port, user, password]) {
  const client = new Client({ host, port: Number(port), user, password, database: "shop" });
  await client.connect();
  const out = {};
  out.rows = (await client.query("select * from orders where id = any($1) order by id", [[1, 2, 3]])).rows;
  for (let n = 0; n < 3; n++) {
    const named = { name: "one-order", text: "select customer, total from orders where id = $1", values: [n + 1] };
    out[`named${n}`] = (await client.query(named)).rows;
  }
  out.several = (await client.query("select 1 as a; select 2 as b")).map((result) => result.rows);
  await client.query("begin");
  out.inserted = (await client.query("insert into orders values ($1, $2, $3) returning *", [1000, "node", 1.5])).rows;
  await client.query("rollback");
  try {
    await client.query("select 1 / $1::int", [0]);
  } catch (error) {
    out.error = [error.code, error.message];
  }
  out.fields = (await client.query("select id, total from orders limit 1")).fields.map((field) => [field.name, field.dataTypeID]);
  await client.end();
  console.log(JSON.stringify(out));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
