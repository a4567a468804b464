import { tool } from './programs.ts'
import type { Reporter } from './reporter.ts'

/** prctl's number, for `PR_SET_CHILD_SUBREAPER` (36). */
const PRCTL: Readonly<Record<string, number>> = { x64: 157, arm64: 167 }

/**
 * Node waits for its own children alone. As process 1 it also gets those whose parents have died,
 * and they would stay for ever; so something that waits for all comes in between: argv before the
 * command's, empty when we are not process 1.
 */
export function reaper(reporter: Reporter, pid: number = process.pid): readonly string[] {
  if (pid !== 1) return []
  const tini = tool('tini')
  if (tini) return [tini, '-s', '--']
  const perl = tool('perl')
  const prctl = PRCTL[process.arch]
  if (perl && prctl) return [perl, '-e', PERL, String(prctl)]
  reporter.warn(
    'process 1 without tini or perl: processes that lose their parent stay as zombies; install tini, or run the container with --init',
  )
  return []
}

const PERL = `use POSIX ();
syscall(shift() + 0, 36, 1, 0, 0, 0);
my $p = fork();
if ($p == 0) { exec { $ARGV[0] } @ARGV or POSIX::_exit(127) }
for my $s (qw(TERM INT HUP QUIT USR1 USR2 WINCH)) { $SIG{$s} = sub { kill $s, $p } }
my $status = 0;
for (;;) {
  my $w = wait();
  if ($w == $p) { $status = $?; last }
  last if $w < 0 && !$!{EINTR};
}
my $n = $status & 127;
exit($n ? 128 + $n : $status >> 8);`
