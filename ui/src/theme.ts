import { signal } from "@preact/signals";

const storageName = "tierwall-theme";

type Theme = "" | "light" | "dark";

/** theme is what was chosen; empty: as the system has it. */
export const theme = signal<Theme>((localStorage.getItem(storageName) as Theme | null) ?? "");

function apply(): void {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
}

export function cycleTheme(): void {
  theme.value = theme.value === "" ? "dark" : theme.value === "dark" ? "light" : "";
  localStorage.setItem(storageName, theme.value);
  apply();
}

apply();
