document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  const keyOf = (row, index) => {
    const entry = row.cells[index];
    return entry.dataset.key === undefined ? entry.textContent : Number(entry.dataset.key);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b);
  };
  table.querySelectorAll("th").forEach((title, index) => {
    title.addEventListener("click", () => {
      const up = title.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = Array.from(body.rows);
      rows.sort((a, b) => compare(keyOf(a, index), keyOf(b, index)) * (up ? 1 : -1));
      body.append(...rows);
    });
  });
});
