// Measures the TypeScript library that plainjobs follows, in the scenarios
// drain and push of the program in the directory above, and prints a JSON line
// for each run as that does with -json.
//
//     npm install
//     node bench.mjs [jobs [runs]]
//
// The library sets WAL and synchronous=NORMAL itself. Its logger is silenced:
// by default it writes several lines for each job to the console. It keeps
// finished jobs, and runs one at a time.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { better, defineQueue, defineWorker, JobStatus } from "plainjob";

const jobs = Number(process.argv[2] ?? 32000);
const runs = Number(process.argv[3] ?? 3);
if (!Number.isInteger(jobs) || jobs < 1 || !Number.isInteger(runs) || runs < 1) {
  console.error("usage: node bench.mjs [jobs [runs]]");
  process.exit(2);
}

const require = createRequire(import.meta.url);
const version = (name) => "v" + require(`./node_modules/${name}/package.json`).version;
const silent = { debug() {}, info() {}, warn: console.warn, error: console.error };

async function onQueue(measure) {
  const dir = mkdtempSync(join(tmpdir(), "plainjobs-original-"));
  const database = new Database(join(dir, "jobs.db"));
  try {
    const queue = defineQueue({ connection: better(database), logger: silent });
    const result = await measure(queue);
    const synchronous = database.pragma("synchronous", { simple: true });
    queue.close();
    return { ...result, durability: synchronous === 2 ? "full" : "normal" };
  } finally {
    database.close();
    rmSync(dir, { recursive: true });
  }
}

function print(scenario, seconds, jobs, rest) {
  console.log(
    JSON.stringify({
      library: "plainjob",
      version: version("plainjob"),
      driver: "better-sqlite3",
      driver_version: version("better-sqlite3"),
      store: "SQLite",
      scenario,
      jobs,
      jobs_per_s: Math.round(jobs / seconds),
      ...rest,
    }),
  );
}

// The clock runs from the start of the worker until the last job is done in
// the store.
async function drain(queue) {
  const ran = new Map();
  for (let from = 0; from < jobs; from += 1000) {
    const length = Math.min(1000, jobs - from);
    queue.addMany("bench", Array.from({ length }, (_, i) => ({ index: from + i })));
  }
  let start, seconds;
  await new Promise((resolve, reject) => {
    let completed = 0;
    const worker = defineWorker(
      "bench",
      (job) => {
        const { index } = JSON.parse(job.data);
        ran.set(index, (ran.get(index) ?? 0) + 1);
      },
      {
        queue,
        logger: silent,
        onCompleted: () => {
          if (++completed === jobs) {
            seconds = (performance.now() - start) / 1000;
            worker.stop().then(resolve, reject);
          }
        },
      },
    );
    start = performance.now();
    worker.start().catch(reject);
  });
  return {
    seconds,
    lost: jobs - Math.min(ran.size, queue.countJobs({ status: JobStatus.Done })),
    repeated: [...ran.values()].filter((n) => n > 1).length,
  };
}

async function push(queue) {
  const start = performance.now();
  let n = 0;
  for (; performance.now() - start < 2000; n++) {
    queue.add("bench", { index: n });
  }
  const seconds = (performance.now() - start) / 1000;
  return { seconds, pushed: n, lost: n - queue.countJobs(), repeated: 0 };
}

for (let run = 0; run < runs; run++) {
  const { seconds, ...drained } = await onQueue(drain);
  print("drain", seconds, jobs, { ...drained, work_durability: drained.durability });
  const { seconds: time, pushed, ...rest } = await onQueue(push);
  print("push", time, pushed, { goroutines: 1, ...rest });
}
