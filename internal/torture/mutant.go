package torture

// A mutant is the source with one flaw, and the test that must find the flaw.
type mutant struct {
	rule     string // that it breaks
	file     string
	from, to string // text that the file has once, and its replacement
	pkg, run string // the test, and its name
	flags    []string
	// child is set if the flaw belongs into the programs that the test builds.
	child bool
	// slow is set if a run takes long, so that there are fewer runs.
	slow bool
}

const (
	memorySuite = "^TestConformance$/^"
	sqliteSuite = "^Test$/^Conformance$/^"
)

// mutants must each change observable behavior: otherwise no test can find
// them.
var mutants = []mutant{
	{
		rule: "memory: Complete checks the token", file: "backend/memory/settle.go",
		from: "judge(j, c.Token, 0)", to: "judge(j, j.Token, 0)",
		pkg: "./backend/memory", run: memorySuite + "complete$/^stale$",
	}, {
		rule: "lifecycle: a settlement checks the token", file: "backend/lifecycle/lifecycle.go",
		from: "case token == 0 || j.Token != token:", to: "case token == 0:",
		pkg: "./backend/memory", run: memorySuite + "fail$/^stale$",
	}, {
		rule: "memory: Reap judges workers by their lease", file: "backend/memory/reap.go",
		from: "if !w.alive(now) {", to: "if true {",
		pkg: "./backend/memory", run: memorySuite + "reap$/^live$",
	}, {
		rule: "lifecycle: a job is failed after as many crashes as it may have", file: "backend/lifecycle/lifecycle.go",
		from: "Condemns(s, j.Crashes)", to: "Condemns(s, j.Crashes - 1)",
		pkg: "./backend/memory", run: memorySuite + "reap$/^crashes$",
	}, {
		rule: "lifecycle: a crash counts against a suspect that was alone", file: "backend/lifecycle/lifecycle.go",
		from: "crashed := j.Suspect && alone", to: "crashed := j.Suspect",
		pkg: "./backend/memory", run: memorySuite + "reap$/^not-alone$",
	}, {
		rule: "memory: a crash counts against no suspect next to other jobs", file: "backend/memory/reap.go",
		from: "j.Rescue(len(held) == 1,", to: "j.Rescue(true,",
		pkg: "./backend/memory", run: memorySuite + "reap$/^with-others$",
	}, {
		rule: "sqlite: a crash counts against a suspect that was alone", file: "backend/sqlite/reap.go",
		from: "r.Rescue(len(rows) == 1,", to: "r.Rescue(true,",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "reap$/^with-others$",
	}, {
		rule: "lifecycle: a unique key keeps others out", file: "backend/lifecycle/key.go",
		from: "(k.Held || k.Until > now)", to: "(k.Until > now)",
		pkg: "./backend/memory", run: memorySuite + "unique$/^taken$",
	}, {
		rule: "lifecycle: a settlement checks the token, by linearizability", file: "backend/lifecycle/lifecycle.go",
		from: "case token == 0 || j.Token != token:", to: "case token == 0:",
		pkg: "./internal/torture/lin", run: "^TestMemory$", slow: true,
	}, {
		rule: "memory: a superseded job is cancelled, by random programs", file: "backend/memory/transition.go",
		from: "		return superseded\n", to: "		_ = superseded\n		return next\n",
		pkg: "./internal/torture/model", run: "^TestMemory$",
		flags: []string{"-rapid.shrinktime=0s"}, // failing is enough
	}, {
		rule: "sqlite: Complete checks the token", file: "backend/sqlite/complete.go",
		from: "r.Judge(c.Token, 0)", to: "r.Judge(r.Token, 0)",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "complete$/^stale$",
	}, {
		rule: "sqlite: Fail checks the token", file: "backend/sqlite/settle.go",
		from: "r.Judge(f.Token, f.Ending)", to: "r.Judge(r.Token, f.Ending)",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "fail$/^stale$",
	}, {
		rule: "sqlite: a suspect is claimed alone, also behind expired jobs", file: "backend/sqlite/claim.go",
		from: "c.jobs, c.nameOf, c.flags, c.cuts, c.exact = nil, nil, nil, nil, c.t.w.picky", to: "_ = 0",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "reap$/^suspect-behind-expired$",
	}, {
		rule: "sqlite: a claim takes its jobs out of their spans", file: "backend/sqlite/claim.go",
		from: "c.t.cutHead(cut, c.first); err != nil", to: "c.t.cutHead(readySpan{name: cut.name, rank: beforeRank}, false); err != nil",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "claim$/^running$",
	}, {
		rule: "sqlite: a span ends at a gap", file: "backend/sqlite/ready.go",
		from: "before.last+1 == id", to: "before.last < id",
		pkg: "./backend/sqlite/modernc", run: "^Test$/^Drift$/^Sound$",
	}, {
		rule: "sqlite: a job that is to run again has another seed", file: "backend/sqlite/row.go",
		from: "next.State.Waits() && !r.State.Waits() || ", to: "",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "batch$/^back$",
	}, {
		rule: "sqlite: a rescued job has another seed", file: "backend/sqlite/reap.go",
		from: "appendIDs([]any{seed}, ids, length)", to: "appendIDs([]any{part[0].seed + 0*seed}, ids, length)",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "complete$/^(stale|reaped)$",
	}, {
		rule: "sqlite: pushes are on disk when they are acknowledged", file: "backend/sqlite/writerconn.go",
		from: `pragma = "PRAGMA synchronous=FULL"`, to: `pragma = "PRAGMA synchronous=NORMAL"`,
		pkg: "./backend/sqlite", run: "^TestDurabilityOfEachOperation$",
	}, {
		rule: "sqlite: a commit whose result is unknown is not retried", file: "backend/sqlite/group.go",
		from: "doubt = !known", to: "doubt = !known && false",
		pkg: "./backend/sqlite", run: "^TestCommitInDoubt$",
	}, {
		rule: "sqlite: after a failed fsync nothing is acknowledged before a checkpoint", file: "backend/sqlite/tx.go",
		from: "t.w.unsyncedWAL = true", to: "t.w.unsyncedWAL = false",
		pkg: "./backend/sqlite", run: "^TestFailedFsync$",
	}, {
		rule: "sqlite: a tick advances the schedule as it was read", file: "backend/sqlite/schedule.go",
		from: "WHERE name = ?3 AND definition = ?4 AND next_at = ?2 AND removed_at = 0", to: "WHERE name = ?3 AND definition = ?4 AND removed_at = 0",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "schedule$/^race$",
	}, {
		rule: "sqlite: what ends in a transaction of the application counts in its gates", file: "backend/sqlite/tx.go",
		from: "if err := t.finishWrites(); err != nil {\n				return err\n			}\n			return b.writer.file.check()",
		to:   "if t.gates = nil; t.finishWrites() != nil {\n				return err\n			}\n			return b.writer.file.check()",
		pkg:  "./backend/sqlite/modernc", run: sqliteSuite + "gate$/^tx$",
	}, {
		rule: "sqlite: a process that closed its store is not dead", file: "backend/sqlite/internal/host/liveness.go",
		from: "return err != nil || info.Size() > 0", to: "return err != nil",
		pkg: "./backend/sqlite/internal/host", run: "^TestLivenessLock$",
	}, {
		rule: "sqlite: a worker whose death cannot be detected hides no other", file: "backend/sqlite/liveness.go",
		from: "if p := b.livenessLock.Open(owner.identity); p != nil {", to: "if p := b.livenessLock.Open(owner.identity); true {",
		pkg: "./backend/sqlite", run: "^TestNextPeer$",
	}, {
		rule: "engine: no attempt follows the last one", file: "internal/engine/outcome.go",
		from: "if job.Attempt >= job.MaxAttempts {", to: "if job.Attempt > job.MaxAttempts {",
		pkg: "./internal/engine", run: "^TestJudge$",
	}, {
		rule: "sqlite: dropping a payload deletes the log", file: "backend/sqlite/row.go",
		from: "[]*list{dropPayloadsOf, deleteLogsOf}", to: "[]*list{dropPayloadsOf}",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "log$/^deleted$",
	}, {
		rule: "memory: a log belongs to its run", file: "backend/lifecycle/log.go",
		from: "return l.Token == token", to: "return l.Attempt == attempt",
		pkg: "./backend/memory", run: memorySuite + "log$/^runs$",
	}, {
		rule: "sqlite: a rewrite compares", file: "backend/sqlite/rewrite.go",
		from: "SET payload = ? WHERE id = ? AND payload = ? AND flags", to: "SET payload = ? WHERE id = ? AND payload || ? <> '' AND flags",
		pkg: "./backend/sqlite/modernc", run: sqliteSuite + "rewrite$/^parts$",
	}, {
		rule: "worker: an index out of range fails all jobs of a batch", file: "internal/engine/batch.go",
		from: "if i < 0 || i >= n {", to: "if false {",
		pkg: "./worker", run: "^TestBatchFails$",
	}, {
		rule: "worker: a cancelled job does not end its batch", file: "worker/batch.go",
		from: "len(b.over) < b.total", to: "false",
		pkg: "./worker", run: "^TestBatchCancel$",
	}, {
		rule: "engine: a missing key uses no attempt", file: "internal/engine/outcome.go",
		from: "case unavailable(err):", to: "case false:",
		pkg: "./worker", run: "^TestMissingKey$",
	}, {
		rule: "worker: a lost lease ends the handler", file: "worker/run.go",
		from: "r.end(plainjobs.ErrLeaseLost)", to: "_ = r",
		pkg: "./worker", run: "^TestLostLeaseEndsTheHandler$", slow: true,
	}, {
		rule: "worker: a stalled worker judges no other", file: "worker/heartbeat.go",
		from: "if stable <= 0 {", to: "if stable = 0; false {",
		pkg: "./worker", run: "^TestNoMassReap$", slow: true,
	}, {
		rule: "worker: a worker that was stopped asks the store before it gives up its leases", file: "worker/heartbeat.go",
		from: "if late && !stopped {", to: "if late && !stopped && false {",
		pkg: "./worker", run: "^TestStoppedWhileItBeats$",
	}, {
		rule: "worker: no worker claims from a copy", file: "worker/environment.go",
		from: `case theirs == "" || theirs == mine:`, to: `case theirs != "" || theirs == mine:`,
		pkg: "./worker", run: "^TestOfAnotherEnvironment$",
	}, {
		rule: "worker: an interrupted run uses no attempt", file: "worker/slots.go",
		from: "interrupted := errors.Is(context.Cause(&r.ctx), plainjobs.ErrStopped)", to: "interrupted := errors.Is(context.Cause(&r.ctx), plainjobs.ErrStopped) && false",
		pkg: "./worker", run: "^TestStopHandsBack$", slow: true,
	}, {
		rule: "sqlite: Complete checks the token, by kill -9", file: "backend/sqlite/complete.go",
		from: "r.Judge(c.Token, 0)", to: "r.Judge(r.Token, 0)",
		pkg: "./internal/torture", run: "^TestShort$/^kill$/^modernc$", child: true, slow: true,
	}, {
		rule: "worker: a stalled worker judges no other, by stalls", file: "worker/heartbeat.go",
		from: "if stable <= 0 {", to: "if stable = 0; false {",
		pkg: "./internal/torture", run: "^TestShort$/^stall$/^mixed$", child: true, slow: true,
	}, {
		rule: "lifecycle: a job is failed after as many crashes as it may have, by a job that kills", file: "backend/lifecycle/lifecycle.go",
		from: "Condemns(s, j.Crashes)", to: "Condemns(s, j.Crashes - 1)",
		pkg: "./internal/torture", run: "^TestShort$/^poison$/^mixed$", child: true, slow: true,
	},
}
