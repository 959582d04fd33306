import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";

export type Column<Row> = {
  name: string;
  // What the column is sorted by; one without is not sorted.
  by?: (row: Row) => string | number;
  cell: (row: Row) => ComponentChildren;
  number?: boolean;
};

// Table sorts by a click on a header, and filters by what is typed.
export function Table<Row>({
  rows, columns, label, rowKey, text, sorted, empty,
}: {
  rows: Row[];
  columns: Column<Row>[];
  label: string;
  rowKey: (row: Row) => string;
  // What the filter looks at; a table without has no filter.
  text?: (row: Row) => string;
  // The column it is sorted by at first.
  sorted?: string;
  empty?: ComponentChildren;
}) {
  const [sort, setSort] = useState<{ name?: string; down: boolean }>({ name: sorted, down: false });
  const [filter, setFilter] = useState("");
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    const out = text && wanted ? rows.filter((row) => text(row).toLowerCase().includes(wanted)) : [...rows];
    const by = columns.find((c) => c.name === sort.name)?.by;
    if (by) {
      out.sort((a, b) => {
        const [x, y] = [by(a), by(b)];
        return (x < y ? -1 : x > y ? 1 : 0) * (sort.down ? -1 : 1);
      });
    }
    return out;
  }, [rows, columns, filter, sort, text]);

  if (rows.length === 0 && empty !== undefined) return <>{empty}</>;
  return (
    <>
      {text && rows.length > 8 && (
        <input type="search" class="filter" placeholder="Filter" aria-label={`Filter ${label}`} value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label={label}>
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column.name} scope="col" class={column.number ? "n" : undefined} aria-sort={sort.name === column.name ? (sort.down ? "descending" : "ascending") : undefined}>
                  {column.by ? (
                    <button type="button" class="sort" onClick={() => setSort({ name: column.name, down: sort.name === column.name ? !sort.down : Boolean(column.number) })}>
                      {column.name}
                      <span aria-hidden="true">{sort.name === column.name ? (sort.down ? " ↓" : " ↑") : ""}</span>
                    </button>
                  ) : (
                    column.name
                  )}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={rowKey(row)}>
                {columns.map((column) => (
                  <td key={column.name} class={column.number ? "n" : undefined}>{column.cell(row)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown.length === 0 && rows.length > 0 && <p class="quiet">None of {rows.length} has “{filter}” in it.</p>}
    </>
  );
}
