import { useEffect, useRef } from "preact/hooks";

const keys: [string, string][] = [
  ["1 … 5", "Board, Map, Flows, Why, What if"],
  ["Tab, Shift+Tab", "to the next control, and back"],
  ["← → ↑ ↓", "among cards, map entries and cells of a table"],
  ["Enter, Space", "open, close, filter by what has the focus"],
  ["/", "to the filter of the view"],
  ["Esc", "close a panel or this help"],
  ["?", "this help"],
];

export function Help({ on }: { on: () => void }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ref.current?.showModal();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby="help-title" onClose={on}>
      <h2 id="help-title">Keys and marks</h2>
      <table>
        <tbody>
          {keys.map(([k, text]) => (
            <tr key={k}>
              <th scope="row">
                <kbd>{k}</kbd>
              </th>
              <td>{text}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="legend">
        <span class="mark allow">● Allow</span> <span class="mark deny">✕ Deny</span> <span class="mark pass">→ Pass</span> <span class="mark log">≡ Log</span> <span class="mark audit">◆ Audit</span>
      </p>
      <p class="dim">What you see is in the address: copy it to share or keep a view.</p>
      <form method="dialog">
        <button class="primary" type="submit">
          Close
        </button>
      </form>
    </dialog>
  );
}
