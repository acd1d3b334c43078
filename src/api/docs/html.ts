/** HTML by hand: a layout, a style sheet, and nothing that runs in a browser. */

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** Text with `code` spans, as descriptions have them. */
export function inline(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>');
}

export interface NavigationItem {
  readonly href: string;
  readonly title: string;
}

export function page(title: string, body: string, navigation: readonly NavigationItem[], current: string): string {
  const items = navigation
    .map(({ href, title: name }) => {
      const here = href === current ? ' aria-current="page"' : '';
      return `<li><a href="${escapeHtml(href)}"${here}>${escapeHtml(name)}</a></li>`;
    })
    .join('');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} · Stigmesh</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<nav aria-label="Documentation"><a class="home" href="/docs">Stigmesh</a><ul>${items}</ul></nav>
<main>
${body}
</main>
</body>
</html>
`;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: string) => row.map((cell) => `<${tag}>${cell}</${tag}>`).join('');
  const lines = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('\n');
  return `<div class="wide"><table><thead><tr>${cells(head, 'th')}</tr></thead><tbody>\n${lines}\n</tbody></table></div>`;
}

export const STYLE = `:root {
  color-scheme: light dark;
  --text: light-dark(#1c2024, #e4e6e9);
  --soft: light-dark(#5b636b, #a0a8b0);
  --back: light-dark(#ffffff, #15181b);
  --side: light-dark(#f5f6f7, #1b1f23);
  --line: light-dark(#dfe2e5, #30363c);
  --link: light-dark(#0b5cad, #6cb2ff);
}
* { box-sizing: border-box; }
body {
  margin: 0; display: grid; grid-template-columns: 15rem minmax(0, 1fr);
  font: 16px/1.6 system-ui, sans-serif; color: var(--text); background: var(--back);
}
nav { padding: 1.5rem 1rem; background: var(--side); border-right: 1px solid var(--line); min-height: 100vh; }
nav ul { list-style: none; margin: 1rem 0; padding: 0; }
nav li a { display: block; padding: .2rem .5rem; border-radius: .3rem; color: inherit; text-decoration: none; }
nav li a:hover, nav li a[aria-current] { background: var(--line); }
nav .home { font-weight: 700; font-size: 1.15rem; color: inherit; text-decoration: none; padding-left: .5rem; }
main { padding: 2rem clamp(1rem, 4vw, 3.5rem) 6rem; max-width: 62rem; }
a { color: var(--link); }
h1 { line-height: 1.2; margin-top: 0; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { margin-top: 2rem; }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
code { background: var(--side); border-radius: .25rem; padding: .1em .3em; }
pre { background: var(--side); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; overflow-x: auto; }
pre code { background: none; padding: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
.method { font-weight: 700; display: inline-block; min-width: 4rem; }
.soft { color: var(--soft); }
@media (max-width: 48rem) {
  body { display: block; }
  nav { min-height: 0; border-right: 0; border-bottom: 1px solid var(--line); }
  nav ul { display: flex; flex-wrap: wrap; margin: .5rem 0 0; }
}
`;
