/**
 * Runs a command at a place. Only the network namespace changes: `ip netns exec` would also make a mount
 * namespace of its own for each process, and hide from the others what it mounts, machines' namespaces
 * among it.
 */
export const atPlace = (place: string, argv: readonly string[]): string[] => [
  'nsenter',
  `--net=/run/netns/${place}`,
  '--',
  ...argv,
]
