// The keyboard: / searches, j and k move through the rows, ? shows all keys.
"use strict";
(() => {
	const dialog = document.getElementById("keys");
	const pages = { o: "./", j: "jobs", g: "groups", s: "schedules", w: "workers", l: "limits", a: "actions" };
	let going = false; // g was pressed

	function move(step) {
		const rows = [...document.querySelectorAll("main a.row")];
		if (rows.length === 0) return;
		const at = rows.indexOf(document.activeElement);
		const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
		next.focus();
		next.scrollIntoView({ block: "nearest" });
	}

	const actions = {
		"/": () => (document.querySelector("[data-search]") || document.querySelector(".goto input")).focus(),
		"j": () => move(1),
		"k": () => move(-1),
		"x": () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
		"n": () => document.querySelector("[data-next]")?.click(),
		"p": () => document.querySelector("[data-first]")?.click(),
		"u": () => document.getElementById("pause").click(),
		"?": () => dialog.open || dialog.showModal(),
		"g": () => { going = true; setTimeout(() => { going = false; }, 1500); },
	};

	document.addEventListener("keydown", (e) => {
		if (e.ctrlKey || e.metaKey || e.altKey) return;
		if (e.target.matches("input:not([type=checkbox]), select, textarea")) {
			if (e.key === "Escape") e.target.blur();
			return;
		}
		if (dialog.open) return;
		if (going) {
			going = false;
			const link = document.querySelector(`nav a[href="${pages[e.key]}"]`);
			if (link) { e.preventDefault(); link.click(); }
			return;
		}
		if (actions[e.key]) { e.preventDefault(); actions[e.key](); }
	});
	document.getElementById("help").addEventListener("click", () => dialog.showModal());
})();
