// Keeps an open page current: times in the viewer's zone, and updates of the content in
// place. Everything works without it.
"use strict";
(() => {
	const root = document.documentElement;
	const live = document.getElementById("live");
	const status = document.getElementById("status");
	const pause = document.getElementById("pause");
	root.classList.add("scripted");

	// skew is how far this clock is ahead of the server's.
	const skew = Date.now() - Date.parse(root.dataset.now);
	const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

	function short(ms) {
		const s = ms / 1000;
		if (s < 10) return s.toFixed(1) + " s";
		if (s < 120) return Math.floor(s) + " s";
		if (s < 7200) return Math.floor(s / 60) + " min";
		if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor(s / 60) % 60 + " min";
		return Math.floor(s / 86400) + " days";
	}

	function text(mode, ms) {
		if (mode === "for") return short(Math.max(0, ms));
		if (Math.abs(ms) < 1000) return "just now";
		return ms > 0 ? short(ms) + " ago" : "in " + short(-ms);
	}

	function showTimes(within) {
		const now = Date.now() - skew;
		for (const t of within.querySelectorAll("time")) {
			const at = Date.parse(t.dateTime);
			if (Number.isNaN(at)) continue;
			if (!t.dataset.utc) {
				t.dataset.utc = t.title;
				t.title = exact.format(at) + " (" + t.title + ")";
			}
			const shown = t.dataset.mode === "exact" ? exact.format(at) : text(t.dataset.mode, now - at);
			if (t.textContent !== shown) t.textContent = shown;
		}
	}

	// morph changes the children of an element into those of another. Elements with the
	// same data-key are the same, so that focus, selection and scroll positions stay.
	function morph(to, from) {
		const keyed = new Map();
		for (const child of to.children) if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
		let at = to.firstChild;
		for (const want of [...from.childNodes]) {
			const key = want.dataset?.key;
			let have = key === undefined ? at : keyed.get(key);
			if (have && key === undefined && (have.dataset?.key !== undefined || have.nodeName !== want.nodeName)) have = null;
			if (have && have.nodeName !== want.nodeName) have = null;
			if (!have) {
				to.insertBefore(want, at);
				continue;
			}
			if (have === at) at = at.nextSibling;
			else to.insertBefore(have, at);
			keyed.delete(key);
			change(have, want);
		}
		while (at) {
			const next = at.nextSibling;
			at.remove();
			at = next;
		}
	}

	function change(have, want) {
		if (have.nodeType !== Node.ELEMENT_NODE) {
			if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
			return;
		}
		if (have.nodeName === "FORM") return; // the viewer may be filling it in
		for (const a of want.attributes) if (have.getAttribute(a.name) !== a.value && a.name !== "open") have.setAttribute(a.name, a.value);
		for (const a of [...have.attributes]) if (!want.hasAttribute(a.name) && a.name !== "open") have.removeAttribute(a.name);
		morph(have, want);
	}

	function update(html) {
		const next = document.createElement("div");
		next.innerHTML = html; // scripts in it would not run, and the server has escaped all data
		showTimes(next);
		morph(live, next);
	}

	function say(message) {
		status.hidden = !message;
		if (status.textContent !== message) status.textContent = message;
	}

	let source = null, retry = 0, paused = false;

	function open() {
		if (source || paused || document.hidden || root.dataset.page === undefined) return;
		const query = new URLSearchParams(location.search);
		query.set("page", root.dataset.page);
		source = new EventSource("events?" + query);
		source.addEventListener("page", (e) => { say(""); update(JSON.parse(e.data)); });
		source.addEventListener("problem", (e) => say(JSON.parse(e.data)));
		source.addEventListener("refused", () => { close(); say("You may not see this page any more. Log in, then reload it."); paused = true; });
		source.addEventListener("open", () => say(""));
		source.addEventListener("error", () => {
			say("The connection is lost. The page is from then, and is updated once the server answers.");
			if (source && source.readyState === EventSource.CLOSED) {
				close();
				retry = setTimeout(open, 5000);
			}
		});
	}

	function close() {
		clearTimeout(retry);
		if (source) source.close();
		source = null;
	}

	pause.addEventListener("click", () => {
		paused = !paused;
		pause.textContent = paused ? "Resume updates" : "Pause updates";
		if (paused) close(); else open();
	});

	// A hidden page costs nothing.
	document.addEventListener("visibilitychange", () => {
		if (document.hidden) close(); else { showTimes(document); open(); }
	});
	addEventListener("pagehide", close);
	addEventListener("pageshow", open);

	// A page that the store did not answer is loaded again once it does, without moving what
	// the viewer reads before that.
	async function again() {
		if (!document.hidden) {
			const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
			if (answer && (answer.ok || answer.status < 500)) { location.reload(); return; }
		}
		setTimeout(again, root.dataset.refresh * 1000);
	}
	if (root.dataset.refresh) setTimeout(again, root.dataset.refresh * 1000);

	document.addEventListener("click", async (e) => {
		if (!e.target.matches(".copy")) return;
		const code = e.target.parentElement.querySelector("code");
		try {
			await navigator.clipboard.writeText(code.textContent);
			e.target.textContent = "Copied";
		} catch {
			getSelection().selectAllChildren(code); // without the permission
			e.target.textContent = "Selected";
		}
		setTimeout(() => { e.target.textContent = "Copy"; }, 1500);
	});

	// Empty fields stay out of the URL.
	document.addEventListener("submit", (e) => {
		if (!e.target.matches(".filter")) return;
		for (const field of e.target.elements) if (field.name && !field.value) field.disabled = true;
		setTimeout(() => { for (const field of e.target.elements) field.disabled = false; });
	});

	showTimes(document);
	setInterval(() => { if (!document.hidden) showTimes(document); }, 1000);
	open();
})();
