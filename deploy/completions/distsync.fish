# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_distsync_global_optspecs
    string join \n on= json h/help V/version
end

function __fish_distsync_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_distsync_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_distsync_using_subcommand
    set -l cmd (__fish_distsync_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c distsync -n "__fish_distsync_needs_command" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_needs_command" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_needs_command" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_needs_command" -s V -l version -d 'Print version'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "run" -d 'Run a command while holding a lock. If the lock is about to be lost, the command is stopped before another client can acquire the lock'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "elect" -d 'Run a command while being the leader of an election. After a loss of the leadership the command is stopped, and the candidate campaigns again. When the command ends by itself, the leader resigns'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "lock" -d 'Acquire a lock, print its ticket, and exit. The lock is held until its TTL expires'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "extend" -d 'Restart the TTL of a lock that `distsync lock` acquired'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "unlock" -d 'Release a lock that `distsync lock` acquired'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "leader" -d 'Show the leader of an election'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "watch" -d 'Print the state of a name, and print it again after each change'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "inspect" -d 'Show who holds a name and who waits for it'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "list" -d 'List the names that have a holder or a waiter'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "break" -d 'End the claims of the holders of a lock, or of the leader of an election'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "serve" -d 'Run a lock server, the same as the program netlockd'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "bench" -d 'Measure how fast a store grants and releases locks'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "check" -d 'Check that the store is reachable, what it promises, and what is missing'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c distsync -n "__fish_distsync_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand run" -l permits -d 'Hold one of N permits, the same N for everyone' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l wait -d 'Wait at most this long for the lock, such as 10s. [default: without a limit]' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -s E -l conflict-exit-code -d 'Exit with this code if the lock is taken or was not granted in time' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l min-hold -d 'Hold the lock for at least this long, also if the command ends earlier' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l max-hold -d 'Stop the command after this time, and exit with 124, as timeout(1) does' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l grace -d 'The time between SIGTERM and SIGKILL when the command has to stop. [default: a third of the session\'s TTL]' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand run" -l shared -d 'Hold the lock together with other shared holders'
complete -c distsync -n "__fish_distsync_using_subcommand run" -l no-wait -d 'Fail at once if the lock is taken'
complete -c distsync -n "__fish_distsync_using_subcommand run" -l leave-background -d 'Release the lock when the command ends, even if processes that it has started still run'
complete -c distsync -n "__fish_distsync_using_subcommand run" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand run" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l node -d 'The id of this candidate, for observers. [default: HOST:PID]' -r
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l http -d 'Serve `/leader` and `/am-i-leader` at this address, as host:port, for programs that do not use distsync. They reply with 200, with 409 if there is no leader or another one, and with 503 if the store does not answer' -r
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l grace -d 'The time between SIGTERM and SIGKILL when the command has to stop. [default: a third of the session\'s TTL]' -r
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l again -d 'Campaign again after the command has ended by itself. It is started at most once a second'
complete -c distsync -n "__fish_distsync_using_subcommand elect" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand elect" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l ttl -d 'Hold the lock for this long, unless it is extended' -r
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l permits -d 'Hold one of N permits, the same N for everyone' -r
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l wait -d 'Wait at most this long for the lock, such as 10s. [default: without a limit]' -r
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l value -d 'Show this text to observers of the lock, at most 1 KiB' -r
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l ticket-file -d 'Write the ticket to this file instead of standard output. Only its owner can read it. A file that exists is replaced' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l shared -d 'Hold the lock together with other shared holders'
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l no-wait -d 'Fail at once if the lock is taken'
complete -c distsync -n "__fish_distsync_using_subcommand lock" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand lock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand extend" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand extend" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand extend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand unlock" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand unlock" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand unlock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand leader" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand leader" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand leader" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand watch" -l count -d 'End after this many lines. The first one is the current state' -r
complete -c distsync -n "__fish_distsync_using_subcommand watch" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand watch" -l election -d 'NAME is an election. A lock and an election with the same name are independent'
complete -c distsync -n "__fish_distsync_using_subcommand watch" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand inspect" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand inspect" -l election -d 'NAME is an election. A lock and an election with the same name are independent'
complete -c distsync -n "__fish_distsync_using_subcommand inspect" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand inspect" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand list" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand list" -l locks -d 'List only locks'
complete -c distsync -n "__fish_distsync_using_subcommand list" -l elections -d 'List only elections'
complete -c distsync -n "__fish_distsync_using_subcommand list" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand break" -l claim -d 'End only this claim, as `distsync inspect` shows it. It may also be one that waits' -r
complete -c distsync -n "__fish_distsync_using_subcommand break" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand break" -l election -d 'NAME is an election. A lock and an election with the same name are independent'
complete -c distsync -n "__fish_distsync_using_subcommand break" -s y -l yes -d 'Do not ask'
complete -c distsync -n "__fish_distsync_using_subcommand break" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand break" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l listen -d 'Listen at this address, as host:port. With port 0, listen at a free port. [default: 127.0.0.1:7420]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l admin-listen -d 'Serve metrics and health at this address, as host:port' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l workers -d 'Serve connections on this many threads. [default: all cores but one]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l data-dir -d 'Store sessions and locks in this folder, so that they survive a restart. The folder is created if it is missing' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l durability -d 'What acknowledged changes survive, with a data folder. `memory`: nothing, and after a restart the server grants nothing until earlier sessions have ended. `async`: the end of the process. `fsync`: also a power failure. [default: async]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l table -d 'The identity of the table, as 32 hexadecimal digits. Clients with more than one address need it (`?table=ID`). The server prints it when it starts. [default: drawn at random, and stored in the data folder if there is one]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l tokens -d 'Authenticate clients by the tokens in this file, which `netlockd hash-token` creates. The file is read again when it changes, and on SIGHUP' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l tls-cert -d 'Use TLS with this certificate, as PEM. The file is read again when it changes, and on SIGHUP' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l tls-key -d 'The private key of the certificate, as PEM' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l tls-client-ca -d 'Authenticate clients by certificates of these authorities, as PEM. The subject alternative name of a certificate is the client\'s principal' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l audit-log -d 'Also append administrator actions to this audit log, one JSON object per line. The file is opened again on SIGHUP' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l connections -d 'The maximum number of connections. [default: 12000]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l log -d 'The log filter, such as info or distsync_netlock=debug. [default: info]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l log-format -d 'The format of logs: text or json. [default: text]' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l set -d 'Set any setting of the configuration file, such as limits.names=1000. Can be repeated' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l print-config -d 'Print all settings as a configuration file, and exit'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l insecure-allow-remote -d 'Allow listening on a non-loopback address without authentication. Anyone who can reach the server can then take and break locks'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -s V -l version -d 'Print version'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "config" -d 'Examine the configuration'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "hash-token" -d 'Print a line for the file of tokens, which gives a token to a principal. The token is read from the first line of standard input. If that is empty, a token is generated and printed to standard error'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "dev-cluster" -d 'Run three servers that form a cluster on this machine, until SIGTERM or SIGINT. Prints their process ids and their URL. A server that is killed is started again after 5 s. For trying a cluster: its data is removed at the end'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "cluster" -d 'Make a data folder that of the only member of a cluster. Its server must not run'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "admin" -d 'Inspect and administer a running server'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and not __fish_seen_subcommand_from config hash-token dev-cluster cluster admin help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check the configuration and exit. Reads the files that it names and the data folder, and changes nothing. Reports the errors that a start would report, except that ports or the data folder are in use'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from config" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from hash-token" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from hash-token" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from hash-token" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from hash-token" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from dev-cluster" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from dev-cluster" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from dev-cluster" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from dev-cluster" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -f -a "init" -d 'Make the data folder of a single server that of the first member of a cluster. Its sessions, locks and tokens stay. Uses the settings with which the member will be started'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -f -a "recover" -d 'Make the data folder of a member that of the only member of its cluster, because a majority of the members is lost for ever. What only the lost members had stored is lost'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from cluster" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -l server -d 'The server, as netlock://[:TOKEN@]HOST:PORT. Use the environment variable for a URL with a token, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -l config -d 'Read the settings from this TOML file. `--print-config` prints all settings' -r -F
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "sessions" -d 'List the open sessions: id, client, remaining time, claims, connections'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "names" -d 'List the names that have holders or waiters'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "inspect" -d 'Show the holders and waiters of a name: claim, session, client, token, age, mode, value'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "evict" -d 'End one claim'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "end-session" -d 'End a session and all its claims'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "confirm-isolated" -d 'Confirm that a client is isolated, if the server could not isolate it. This releases its locks'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "release-all" -d 'End all claims of the names that begin with a prefix'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "cluster" -d 'Inspect and change the cluster of which the server is a member'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from admin" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "config" -d 'Examine the configuration'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "hash-token" -d 'Print a line for the file of tokens, which gives a token to a principal. The token is read from the first line of standard input. If that is empty, a token is generated and printed to standard error'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "dev-cluster" -d 'Run three servers that form a cluster on this machine, until SIGTERM or SIGINT. Prints their process ids and their URL. A server that is killed is started again after 5 s. For trying a cluster: its data is removed at the end'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "cluster" -d 'Make a data folder that of the only member of a cluster. Its server must not run'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "admin" -d 'Inspect and administer a running server'
complete -c distsync -n "__fish_distsync_using_subcommand serve; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l tasks -d 'The number of tasks that acquire locks at the same time' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l names -d 'The number of locks. Tasks share them evenly, so with 1 all tasks queue for the same lock. [default: one for each task]' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l clients -d 'The number of connections and sessions. Tasks share them evenly' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l time -d 'The time for which the load lasts' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l mode -d 'How the tasks acquire the locks' -r -f -a "lock\t'Exclusive. A task waits until its lock is free'
read\t'Shared. No task waits'
try\t'Exclusive. A task that finds its lock taken tries again at once'"
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l namespace -d 'The namespace of the locks. It replaces that of the URL' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand bench" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand check" -l prefix -d 'Try the operations on a name that begins with this text, for a user whose permissions are limited to some names' -r
complete -c distsync -n "__fish_distsync_using_subcommand check" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand check" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c distsync -n "__fish_distsync_using_subcommand completions" -l on -d 'Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or redis://HOST. Use the environment variable for a URL with a password, because other users can see the arguments of a process' -r
complete -c distsync -n "__fish_distsync_using_subcommand completions" -l json -d 'Print JSON for programs'
complete -c distsync -n "__fish_distsync_using_subcommand completions" -s h -l help -d 'Print help'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "run" -d 'Run a command while holding a lock. If the lock is about to be lost, the command is stopped before another client can acquire the lock'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "elect" -d 'Run a command while being the leader of an election. After a loss of the leadership the command is stopped, and the candidate campaigns again. When the command ends by itself, the leader resigns'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "lock" -d 'Acquire a lock, print its ticket, and exit. The lock is held until its TTL expires'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "extend" -d 'Restart the TTL of a lock that `distsync lock` acquired'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "unlock" -d 'Release a lock that `distsync lock` acquired'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "leader" -d 'Show the leader of an election'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "watch" -d 'Print the state of a name, and print it again after each change'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "inspect" -d 'Show who holds a name and who waits for it'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "list" -d 'List the names that have a holder or a waiter'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "break" -d 'End the claims of the holders of a lock, or of the leader of an election'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "serve" -d 'Run a lock server, the same as the program netlockd'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "bench" -d 'Measure how fast a store grants and releases locks'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "check" -d 'Check that the store is reachable, what it promises, and what is missing'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "completions" -d 'Print the completions for a shell'
complete -c distsync -n "__fish_distsync_using_subcommand help; and not __fish_seen_subcommand_from run elect lock extend unlock leader watch inspect list break serve bench check completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c distsync -n "__fish_distsync_using_subcommand help; and __fish_seen_subcommand_from serve" -f -a "config" -d 'Examine the configuration'
complete -c distsync -n "__fish_distsync_using_subcommand help; and __fish_seen_subcommand_from serve" -f -a "hash-token" -d 'Print a line for the file of tokens, which gives a token to a principal. The token is read from the first line of standard input. If that is empty, a token is generated and printed to standard error'
complete -c distsync -n "__fish_distsync_using_subcommand help; and __fish_seen_subcommand_from serve" -f -a "dev-cluster" -d 'Run three servers that form a cluster on this machine, until SIGTERM or SIGINT. Prints their process ids and their URL. A server that is killed is started again after 5 s. For trying a cluster: its data is removed at the end'
complete -c distsync -n "__fish_distsync_using_subcommand help; and __fish_seen_subcommand_from serve" -f -a "cluster" -d 'Make a data folder that of the only member of a cluster. Its server must not run'
complete -c distsync -n "__fish_distsync_using_subcommand help; and __fish_seen_subcommand_from serve" -f -a "admin" -d 'Inspect and administer a running server'
