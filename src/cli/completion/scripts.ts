/** What a shell sources. Each asks `fairway __complete` for what fits; none knows any command itself. */

const BASH = `# Completion of fairway for bash: source <(fairway completion bash)
_fairway() {
  local IFS=$' \\t\\n' line=\${COMP_LINE:0:COMP_POINT} words last breaks= head= kind value
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  last=\${words[\${#words[@]}-1]}
  # bash breaks words at these and replaces what follows the last one alone.
  [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
  [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
  [[ -n $breaks ]] && head=\${last%"\${last##*[$breaks]}"}
  COMPREPLY=()
  {
    read -r kind
    while IFS=$'\\t' read -r value _; do COMPREPLY+=("\${value#"$head"}"); done
  } < <("\${1/#\\~/$HOME}" __complete -- "\${words[@]:1}" 2>/dev/null)
  case $kind in
    files) compopt -o default ;;
    list) compopt -o nospace ;;
  esac
}
complete -F _fairway fairway
`

const ZSH = `#compdef fairway
# Completion of fairway for zsh: source <(fairway completion zsh)
_fairway() {
  local -a lines described
  local line
  lines=("\${(@f)$(\${~words[1]} __complete -- "\${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
  for line in "\${(@)lines[2,-1]}"; do
    described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  case \${lines[1]} in
    files) _files ;;
    list) _describe -t values value described -S '' ;;
    *) _describe -t values value described ;;
  esac
}
if [[ $funcstack[1] == _fairway ]]; then _fairway "$@"; else compdef _fairway fairway; fi
`

const FISH = `# Completion of fairway for fish: fairway completion fish | source
function __fairway_complete
  set -l typed (commandline -ct)
  set -l words (commandline -opc)
  set -l lines (eval (string escape -n -- $words[1]) __complete -- (string escape -- $words[2..] "$typed") 2>/dev/null)
  if test "$lines[1]" = files
    __fish_complete_path "$typed"
  else if set -q lines[2]
    printf '%s\\n' $lines[2..]
  end
end
complete -c fairway -f -a '(__fairway_complete)'
`

export const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH } as const
export type Shell = keyof typeof SCRIPTS
