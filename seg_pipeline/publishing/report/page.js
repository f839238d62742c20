// Headings of tables become buttons that sort their rows; rows without a value stay last.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const valueOf = (row) => {
      const cell = row.cells[column];
      if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
      return cell.classList.contains("n") ? NaN : cell.textContent.trim();
    };
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numbers = heading.classList.contains("n");
      const was = heading.getAttribute("aria-sort");
      // Numbers begin with the largest, words with A.
      const descending = was ? was === "ascending" : numbers;
      const rows = [...body.rows].map((row) => [valueOf(row), row]);
      const missing = ([value]) => Number.isNaN(value);
      rows.sort((a, b) => missing(a) - missing(b) || (descending ? -1 : 1) * compare(a[0], b[0]) || 0);
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...rows.map(([, row]) => row));
    });
  });
}
