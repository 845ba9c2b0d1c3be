// Says how many jobs are selected, and selects all of a page.
"use strict";
(() => {
	const form = document.getElementById("selected");
	if (!form) return;
	const label = document.getElementById("selection");
	const all = document.getElementById("select-page");
	const boxes = () => [...document.querySelectorAll('input[name="id"][form="selected"]')];

	function show() {
		const n = boxes().filter((b) => b.checked).length;
		label.textContent = n === 0 ? "With the selected jobs:" : n === 1 ? "With 1 selected job:" : "With " + n + " selected jobs:";
		all.textContent = n > 0 && n === boxes().length ? "Select none" : "Select this page";
	}

	all.addEventListener("click", () => {
		const every = boxes();
		const on = !every.every((b) => b.checked);
		for (const b of every) b.checked = on;
		show();
	});
	document.addEventListener("change", (e) => { if (e.target.matches('input[name="id"]')) show(); });
	show();
})();
