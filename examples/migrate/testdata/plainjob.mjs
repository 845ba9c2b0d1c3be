// Pushes jobs with plainjob into the database that the first argument names, runs some of
// them, and prints how many are in which status. plainjob takes a connection of
// better-sqlite3; this one is SQLite in WebAssembly, which needs no compiler.
import sqlite from "node-sqlite3-wasm";
import { defineQueue } from "plainjob";

const filename = process.argv[2];
const db = new sqlite.Database(filename);
const prefixed = (args) =>
  args.map((a) => (a !== null && typeof a === "object" ? Object.fromEntries(Object.entries(a).map(([k, v]) => ["@" + k, v])) : a));
const statements = [];
const connection = {
  driver: "better-sqlite3",
  filename,
  pragma: (text) => db.exec(`PRAGMA ${text}`),
  exec: (text) => db.exec(text),
  prepare: (text) => {
    const s = db.prepare(text);
    statements.push(s);
    return {
      run: (...args) => s.run(...prefixed(args)),
      get: (...args) => s.get(...prefixed(args)) ?? undefined,
      all: (...args) => s.all(...prefixed(args)),
    };
  },
  transaction: (fn) => {
    const run = (...args) => {
      db.exec("BEGIN IMMEDIATE");
      try {
        const result = fn(...args);
        db.exec("COMMIT");
        return result;
      } catch (error) {
        db.exec("ROLLBACK");
        throw error;
      }
    };
    return Object.assign(run, { immediate: run, deferred: run, exclusive: run });
  },
  close: () => {
    statements.forEach((s) => s.finalize());
    db.close();
  },
};

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const queue = defineQueue({ connection, logger: silent });
for (const type of ["done", "failed", "running"]) {
  for (let i = 0; i < 5; i++) queue.add(type, { i });
}
for (let i = 0; i < 5; i++) {
  queue.markJobAsDone(queue.getAndMarkJobAsProcessing("done").id);
  queue.markJobAsFailed(queue.getAndMarkJobAsProcessing("failed").id, "refused");
  queue.getAndMarkJobAsProcessing("running");
}
queue.add("mail", { i: 0, to: "ada@example.com" });
queue.addMany("mail", Array.from({ length: 699 }, (_, i) => ({ i: i + 1, to: "ada@example.com" })));
queue.addMany("later", Array.from({ length: 300 }, (_, i) => ({ i })), { delay: 3600 * 1000 });
queue.add("strange name", { i: 0 });
queue.schedule("report", { cron: "0 6 * * 1-5" });
console.log(JSON.stringify([0, 1, 2, 3].map((status) => queue.countJobs({ status }))));
queue.close();
