import type { Command, Option } from 'commander';
import { type CommandNode, commandTree, walk } from './tree.ts';

export type Shell = 'bash' | 'zsh' | 'fish';

/** A completion script for the command tree. All three walk the words before the cursor to find the command. */
export function completionScript(shell: Shell, program: Command): string {
  const root = commandTree(program);
  switch (shell) {
    case 'bash':
      return bash(root);
    case 'zsh':
      return zsh(root);
    case 'fish':
      return fish(root);
  }
}

const key = (node: CommandNode): string => node.path.join(' ');
const nodes = (root: CommandNode): CommandNode[] => [...walk(root)];
const takesValue = (option: Option): boolean => option.required || option.optional;
const spellings = (option: Option): string[] => [option.short, option.long].filter((text) => text !== undefined);

/** In single quotes of every POSIX shell, and of zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Options of a command and those that every command takes. */
function optionsOf(root: CommandNode, node: CommandNode): Option[] {
  return node === root
    ? [...root.options]
    : [...node.options, ...root.options.filter(({ long }) => long !== '--help' && long !== '--version')];
}

/** Every option that is followed by a value, wherever it is defined: what follows one is no command. */
function valueOptions(root: CommandNode): string[] {
  const names = nodes(root).flatMap(({ options }) => options.filter(takesValue).flatMap(spellings));
  return [...new Set(names)].sort();
}

/** The fixed words of arguments: they complete like commands do. */
const choicesOf = (node: CommandNode): string[] => node.arguments.flatMap(({ argChoices }) => argChoices ?? []);

function bash(root: CommandNode): string {
  const all = nodes(root);
  const afterOption = all.flatMap((node) =>
    node.options
      .filter(({ argChoices }) => argChoices !== undefined)
      .map((option) => {
        const patterns = spellings(option)
          .map((name) => quoted(`${key(node)} ${name}`))
          .join('|');
        return `    ${patterns}) COMPREPLY=($(compgen -W ${quoted((option.argChoices as string[]).join(' '))} -- "$cur")); return ;;`;
      }),
  );
  const words = all.map((node) => {
    const names = [...node.commands.map(({ path }) => path.at(-1)), ...choicesOf(node)];
    const options = optionsOf(root, node).flatMap(spellings);
    return `    ${quoted(key(node))}) words=${quoted([...names, ...options].join(' '))} ;;`;
  });
  return `# bash completion for stigmesh; made by: stigmesh completion bash
_stigmesh() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" command='' words='' skip='' word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [ -n "$skip" ]; then skip=''; continue; fi
    case "$word" in
      ${valueOptions(root).join('|')}) skip=1 ;;
      -*) ;;
      *)
        case "\${command:+$command }$word" in
          ${all
            .slice(1)
            .map((node) => quoted(key(node)))
            .join('|')}) command="\${command:+$command }$word" ;;
        esac ;;
    esac
  done
  case "$command $prev" in
${afterOption.join('\n')}
  esac
  # After any other option that takes a value, names of files are completed (complete -o default).
  if [ -n "$skip" ]; then COMPREPLY=(); return; fi
  case "$command" in
${words.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _stigmesh stigmesh
`;
}

function zsh(root: CommandNode): string {
  const all = nodes(root);
  const described = (name: string, text: string): string => quoted(`${name.replaceAll(':', '\\:')}:${text}`);
  const afterOption = all.flatMap((node) =>
    node.options
      .filter(({ argChoices }) => argChoices !== undefined)
      .map((option) => {
        const patterns = spellings(option)
          .map((name) => quoted(`${key(node)} ${name}`))
          .join('|');
        return `    ${patterns}) compadd -- ${(option.argChoices as string[]).map(quoted).join(' ')}; return ;;`;
      }),
  );
  const cases = all.map((node) => {
    const names = [
      ...node.commands.map(({ path, summary }) => described(path.at(-1) as string, summary)),
      ...choicesOf(node).map((word) => described(word, '')),
    ];
    const options = optionsOf(root, node).flatMap((option) =>
      spellings(option).map((name) => described(name, option.description)),
    );
    return `    ${quoted(key(node))})
      commands=(${names.join(' ')})
      options=(${options.join(' ')}) ;;`;
  });
  return `#compdef stigmesh
# zsh completion for stigmesh; made by: stigmesh completion zsh
_stigmesh() {
  local command='' skip='' word i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    if [[ -n "$skip" ]]; then skip=''; continue; fi
    case "$word" in
      ${valueOptions(root).join('|')}) skip=1 ;;
      -*) ;;
      *)
        case "\${command:+$command }$word" in
          ${all
            .slice(1)
            .map((node) => quoted(key(node)))
            .join('|')}) command="\${command:+$command }$word" ;;
        esac ;;
    esac
  done
  case "$command \${words[CURRENT-1]}" in
${afterOption.join('\n')}
  esac
  if [[ -n "$skip" ]]; then _files; return; fi
  case "$command" in
${cases.join('\n')}
  esac
  if [[ "\${words[CURRENT]}" == -* ]]; then
    _describe -o option options
  elif (( \${#commands} )); then
    _describe command commands
  else
    _files
  fi
}
if [[ "$funcstack[1]" == _stigmesh ]]; then _stigmesh "$@"; else compdef _stigmesh stigmesh; fi
`;
}

function fish(root: CommandNode): string {
  // In single quotes fish knows two escapes: \\\\ and \\'.
  const text = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const all = nodes(root);
  const lines = all.flatMap((node) => {
    const at = `-n ${text(`__stigmesh_at "${key(node)}"`)}`;
    return [
      ...node.commands.map(
        ({ path, summary }) => `complete -c stigmesh ${at} -f -a ${path.at(-1)} -d ${text(summary)}`,
      ),
      ...choicesOf(node).map((word) => `complete -c stigmesh ${at} -f -a ${text(word)}`),
      ...optionsOf(root, node).map((option) => {
        const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`;
        const long = option.long === undefined ? '' : ` -l ${option.long.slice(2)}`;
        const choices = option.argChoices === undefined ? '' : ` -f -a ${text(option.argChoices.join(' '))}`;
        const value = takesValue(option) ? ` -r${choices}` : '';
        return `complete -c stigmesh ${at}${short}${long}${value} -d ${text(option.description)}`;
      }),
    ];
  });
  return `# fish completion for stigmesh; made by: stigmesh completion fish
function __stigmesh_at
    set -l command ''
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case ${valueOptions(root).join(' ')}
                set skip 1
            case '-*'
            case '*'
                set -l longer (string trim -- "$command $word")
                if contains -- "$longer" ${all
                  .slice(1)
                  .map((node) => text(key(node)))
                  .join(' ')}
                    set command $longer
                end
        end
    end
    test "$command" = "$argv[1]"
end
${lines.join('\n')}
`;
}
