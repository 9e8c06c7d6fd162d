// Does one thing with trino-client and prints what it saw, one fact a line.
//
// Usage: node client.js HOST:PORT SOURCE ACT SQL [PARAMETER …]; NODE_PATH names its modules.

const readline = require("node:readline");
const { Trino } = require("trino-client");

/** A client with a session of its own. */
function connect(address, source) {
  const extraHeaders = { "X-Trino-User": "real-test" };
  return Trino.create({ server: `http://${address}`, source, extraHeaders });
}

/** What Trino itself said of a query. */
class QueryError extends Error {
  constructor(told) {
    super(told.message);
    this.code = told.errorCode;
  }
}

/** The pages of a statement; its error is thrown. */
async function* pages(client, sql) {
  for await (const page of await client.query(sql)) {
    if (page.error) {
      throw new QueryError(page.error);
    }
    yield page;
  }
}

/** The rows of a statement, each as the other clients write it. */
async function* rows(client, sql) {
  for await (const page of pages(client, sql)) {
    for (const row of page.data ?? []) {
      yield row.map(String).join("\t");
    }
  }
}

/** The rows of some statements separated by `;`, run in one session, or the error. */
async function printRows(client, statements) {
  try {
    for (const sql of statements.split(";")) {
      for await (const row of rows(client, sql)) {
        console.log(row);
      }
    }
  } catch (error) {
    if (!(error instanceof QueryError)) {
      throw error;
    }
    console.log(`error ${error.code} ${error.message}`);
  }
}

/** The table of CRC-32. */
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) {
    byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  }
  return byte;
});

function crc32(text) {
  let sum = ~0;
  for (const byte of Buffer.from(text)) {
    sum = CRC[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  }
  return ~sum >>> 0;
}

/** The number of rows, and the sum of the CRC-32 of each (any order gives the same). */
async function checksum(client, sql) {
  let count = 0;
  let sum = 0;
  for await (const row of rows(client, sql)) {
    count++;
    sum += crc32(row);
  }
  console.log(`${count}\t${sum}`);
}

function failed(error) {
  return `failed ${`${error.name}: ${error.message}`.split(/\s+/).join(" ")}`;
}

/** Cancels after the first row, so the query was surely running, and tells how that went. */
async function cancel(client, sql) {
  let running = false;
  try {
    for await (const page of pages(client, sql)) {
      if (!running && page.data) {
        running = true;
        console.log("running");
        await client.cancel(page.id);
      }
    }
  } catch (error) {
    const told = error instanceof QueryError && running;
    return told ? "cancelled" : failed(error);
  }
  return failed(new Error("not cancelled"));
}

/** Runs one query with a client of its own, and tells how it ended. */
async function outcome(address, source, sql) {
  let count = 0;
  try {
    for await (const _ of rows(connect(address, source), sql)) {
      count++;
    }
  } catch (error) {
    return failed(error);
  }
  return `rows ${count}`;
}

/** Does one act after another, each told in a line `ACT HOST:PORT SQL`. */
async function each(source) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, act, address, sql] = line.match(/^(\S+) (\S+) (.*)$/);
    const cancels = act === "cancel";
    console.log(await (cancels ? cancel(connect(address, source), sql) : outcome(address, source, sql)));
  }
}

/** Prints how one query ended. */
async function tell(address, source, sql) {
  console.log(await outcome(address, source, sql));
}

/** Runs a query many times at once. */
async function many(address, source, sql, count) {
  await Promise.all(Array.from({ length: count }, () => tell(address, source, sql)));
}

/** Starts a query so many times a second, for so many seconds; a slow one delays no other. */
async function pace(address, source, sql, rate, seconds) {
  const begin = performance.now();
  const started = Array.from({ length: rate * seconds }, async (_, number) => {
    const due = begin + (number * 1000) / rate;
    await new Promise((wake) => setTimeout(wake, due - performance.now()));
    await tell(address, source, sql);
  });
  await Promise.all(started);
}

async function main([address, source, act, sql, ...parameters]) {
  const client = connect(address, source);
  const [first, second] = parameters.map(Number);
  switch (act) {
    case "rows":
      return printRows(client, sql);
    case "prepared":
      return printRows(client, `PREPARE asked FROM ${sql};EXECUTE asked USING ${first}`);
    case "checksum":
      return checksum(client, sql);
    case "cancel":
      return console.log(await cancel(client, sql));
    case "many":
      return many(address, source, sql, first);
    case "pace":
      return pace(address, source, sql, first, second);
    case "each":
      return each(source);
    default:
      throw new Error(`no act ${act}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
