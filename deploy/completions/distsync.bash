_distsync() {
    local i cur prev opts cmd
    COMPREPLY=()
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        cur="$2"
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
    fi
    prev="$3"
    cmd=""
    opts=""

    for i in "${COMP_WORDS[@]:0:COMP_CWORD}"
    do
        case "${cmd},${i}" in
            ",$1")
                cmd="distsync"
                ;;
            distsync,bench)
                cmd="distsync__subcmd__bench"
                ;;
            distsync,break)
                cmd="distsync__subcmd__break"
                ;;
            distsync,check)
                cmd="distsync__subcmd__check"
                ;;
            distsync,completions)
                cmd="distsync__subcmd__completions"
                ;;
            distsync,elect)
                cmd="distsync__subcmd__elect"
                ;;
            distsync,extend)
                cmd="distsync__subcmd__extend"
                ;;
            distsync,help)
                cmd="distsync__subcmd__help"
                ;;
            distsync,inspect)
                cmd="distsync__subcmd__inspect"
                ;;
            distsync,leader)
                cmd="distsync__subcmd__leader"
                ;;
            distsync,list)
                cmd="distsync__subcmd__list"
                ;;
            distsync,lock)
                cmd="distsync__subcmd__lock"
                ;;
            distsync,run)
                cmd="distsync__subcmd__run"
                ;;
            distsync,serve)
                cmd="distsync__subcmd__serve"
                ;;
            distsync,unlock)
                cmd="distsync__subcmd__unlock"
                ;;
            distsync,watch)
                cmd="distsync__subcmd__watch"
                ;;
            distsync__subcmd__help,bench)
                cmd="distsync__subcmd__help__subcmd__bench"
                ;;
            distsync__subcmd__help,break)
                cmd="distsync__subcmd__help__subcmd__break"
                ;;
            distsync__subcmd__help,check)
                cmd="distsync__subcmd__help__subcmd__check"
                ;;
            distsync__subcmd__help,completions)
                cmd="distsync__subcmd__help__subcmd__completions"
                ;;
            distsync__subcmd__help,elect)
                cmd="distsync__subcmd__help__subcmd__elect"
                ;;
            distsync__subcmd__help,extend)
                cmd="distsync__subcmd__help__subcmd__extend"
                ;;
            distsync__subcmd__help,help)
                cmd="distsync__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__help,inspect)
                cmd="distsync__subcmd__help__subcmd__inspect"
                ;;
            distsync__subcmd__help,leader)
                cmd="distsync__subcmd__help__subcmd__leader"
                ;;
            distsync__subcmd__help,list)
                cmd="distsync__subcmd__help__subcmd__list"
                ;;
            distsync__subcmd__help,lock)
                cmd="distsync__subcmd__help__subcmd__lock"
                ;;
            distsync__subcmd__help,run)
                cmd="distsync__subcmd__help__subcmd__run"
                ;;
            distsync__subcmd__help,serve)
                cmd="distsync__subcmd__help__subcmd__serve"
                ;;
            distsync__subcmd__help,unlock)
                cmd="distsync__subcmd__help__subcmd__unlock"
                ;;
            distsync__subcmd__help,watch)
                cmd="distsync__subcmd__help__subcmd__watch"
                ;;
            distsync__subcmd__help__subcmd__serve,admin)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin"
                ;;
            distsync__subcmd__help__subcmd__serve,cluster)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__cluster"
                ;;
            distsync__subcmd__help__subcmd__serve,config)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__config"
                ;;
            distsync__subcmd__help__subcmd__serve,dev-cluster)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__dev__subcmd__cluster"
                ;;
            distsync__subcmd__help__subcmd__serve,hash-token)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__hash__subcmd__token"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,cluster)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,confirm-isolated)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__confirm__subcmd__isolated"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,end-session)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__end__subcmd__session"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,evict)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__evict"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,inspect)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__inspect"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,names)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__names"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,release-all)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__release__subcmd__all"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin,sessions)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__sessions"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster,add)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__add"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster,promote)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__promote"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster,remove)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__remove"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster,status)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__status"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster,step-down)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__cluster,init)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__cluster__subcmd__init"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__cluster,recover)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__cluster__subcmd__recover"
                ;;
            distsync__subcmd__help__subcmd__serve__subcmd__config,check)
                cmd="distsync__subcmd__help__subcmd__serve__subcmd__config__subcmd__check"
                ;;
            distsync__subcmd__serve,admin)
                cmd="distsync__subcmd__serve__subcmd__admin"
                ;;
            distsync__subcmd__serve,cluster)
                cmd="distsync__subcmd__serve__subcmd__cluster"
                ;;
            distsync__subcmd__serve,config)
                cmd="distsync__subcmd__serve__subcmd__config"
                ;;
            distsync__subcmd__serve,dev-cluster)
                cmd="distsync__subcmd__serve__subcmd__dev__subcmd__cluster"
                ;;
            distsync__subcmd__serve,hash-token)
                cmd="distsync__subcmd__serve__subcmd__hash__subcmd__token"
                ;;
            distsync__subcmd__serve,help)
                cmd="distsync__subcmd__serve__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__admin,cluster)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster"
                ;;
            distsync__subcmd__serve__subcmd__admin,confirm-isolated)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__confirm__subcmd__isolated"
                ;;
            distsync__subcmd__serve__subcmd__admin,end-session)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__end__subcmd__session"
                ;;
            distsync__subcmd__serve__subcmd__admin,evict)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__evict"
                ;;
            distsync__subcmd__serve__subcmd__admin,help)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__admin,inspect)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__inspect"
                ;;
            distsync__subcmd__serve__subcmd__admin,names)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__names"
                ;;
            distsync__subcmd__serve__subcmd__admin,release-all)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__release__subcmd__all"
                ;;
            distsync__subcmd__serve__subcmd__admin,sessions)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__sessions"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,add)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__add"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,help)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,promote)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__promote"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,remove)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__remove"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,status)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__status"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster,step-down)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,add)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__add"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,help)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,promote)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__promote"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,remove)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__remove"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,status)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__status"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help,step-down)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__step__subcmd__down"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,cluster)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,confirm-isolated)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__confirm__subcmd__isolated"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,end-session)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__end__subcmd__session"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,evict)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__evict"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,help)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,inspect)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__inspect"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,names)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__names"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,release-all)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__release__subcmd__all"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help,sessions)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__sessions"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster,add)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__add"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster,promote)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__promote"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster,remove)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__remove"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster,status)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__status"
                ;;
            distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster,step-down)
                cmd="distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__step__subcmd__down"
                ;;
            distsync__subcmd__serve__subcmd__cluster,help)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__cluster,init)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__init"
                ;;
            distsync__subcmd__serve__subcmd__cluster,recover)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__recover"
                ;;
            distsync__subcmd__serve__subcmd__cluster__subcmd__help,help)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__cluster__subcmd__help,init)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__init"
                ;;
            distsync__subcmd__serve__subcmd__cluster__subcmd__help,recover)
                cmd="distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__recover"
                ;;
            distsync__subcmd__serve__subcmd__config,check)
                cmd="distsync__subcmd__serve__subcmd__config__subcmd__check"
                ;;
            distsync__subcmd__serve__subcmd__config,help)
                cmd="distsync__subcmd__serve__subcmd__config__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__config__subcmd__help,check)
                cmd="distsync__subcmd__serve__subcmd__config__subcmd__help__subcmd__check"
                ;;
            distsync__subcmd__serve__subcmd__config__subcmd__help,help)
                cmd="distsync__subcmd__serve__subcmd__config__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__help,admin)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin"
                ;;
            distsync__subcmd__serve__subcmd__help,cluster)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__cluster"
                ;;
            distsync__subcmd__serve__subcmd__help,config)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__config"
                ;;
            distsync__subcmd__serve__subcmd__help,dev-cluster)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__dev__subcmd__cluster"
                ;;
            distsync__subcmd__serve__subcmd__help,hash-token)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__hash__subcmd__token"
                ;;
            distsync__subcmd__serve__subcmd__help,help)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__help"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,cluster)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,confirm-isolated)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__confirm__subcmd__isolated"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,end-session)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__end__subcmd__session"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,evict)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__evict"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,inspect)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__inspect"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,names)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__names"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,release-all)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__release__subcmd__all"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin,sessions)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__sessions"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster,add)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__add"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster,promote)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__promote"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster,remove)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__remove"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster,status)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__status"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster,step-down)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__cluster,init)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__cluster__subcmd__init"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__cluster,recover)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__cluster__subcmd__recover"
                ;;
            distsync__subcmd__serve__subcmd__help__subcmd__config,check)
                cmd="distsync__subcmd__serve__subcmd__help__subcmd__config__subcmd__check"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        distsync)
            opts="-h -V --on --json --help --version run elect lock extend unlock leader watch inspect list break serve bench check completions help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__bench)
            opts="-h --tasks --names --clients --time --mode --namespace --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --tasks)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --names)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --clients)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --time)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --mode)
                    COMPREPLY=($(compgen -W "lock read try" -- "${cur}"))
                    return 0
                    ;;
                --namespace)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__break)
            opts="-y -h --election --claim --yes --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --claim)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__check)
            opts="-h --prefix --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --prefix)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__completions)
            opts="-h --on --json --help bash elvish fish powershell zsh"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__elect)
            opts="-h --node --http --again --grace --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --node)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --http)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --grace)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__extend)
            opts="-h --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help)
            opts="run elect lock extend unlock leader watch inspect list break serve bench check completions help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__bench)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__break)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__check)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__completions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__elect)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__extend)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__inspect)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__leader)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__list)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__lock)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__run)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve)
            opts="config hash-token dev-cluster cluster admin"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin)
            opts="sessions names inspect evict end-session confirm-isolated release-all cluster"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster)
            opts="status add promote remove step-down"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__promote)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__status)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__confirm__subcmd__isolated)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__end__subcmd__session)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__evict)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__inspect)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__names)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__release__subcmd__all)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__admin__subcmd__sessions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__cluster)
            opts="init recover"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__cluster__subcmd__init)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__cluster__subcmd__recover)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__config)
            opts="check"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__config__subcmd__check)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__dev__subcmd__cluster)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__serve__subcmd__hash__subcmd__token)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__unlock)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__help__subcmd__watch)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__inspect)
            opts="-h --election --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__leader)
            opts="-h --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__list)
            opts="-h --locks --elections --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__lock)
            opts="-h --ttl --shared --permits --wait --no-wait --value --ticket-file --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --permits)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --wait)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --value)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --ticket-file)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__run)
            opts="-E -h --shared --permits --wait --no-wait --conflict-exit-code --min-hold --max-hold --grace --leave-background --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --permits)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --wait)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --conflict-exit-code)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                -E)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --min-hold)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --max-hold)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --grace)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve)
            opts="-h -V --config --print-config --listen --insecure-allow-remote --admin-listen --workers --data-dir --durability --table --tokens --tls-cert --tls-key --tls-client-ca --audit-log --connections --log --log-format --set --on --json --help --version config hash-token dev-cluster cluster admin help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --admin-listen)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --workers)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --data-dir)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --durability)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --table)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tokens)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tls-cert)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tls-key)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --tls-client-ca)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --audit-log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --connections)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --log-format)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --set)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin)
            opts="-h --server --config --on --json --help sessions names inspect evict end-session confirm-isolated release-all cluster help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --server)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster)
            opts="-h --config --on --json --help status add promote remove step-down help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__add)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help)
            opts="status add promote remove step-down help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__promote)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__status)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__help__subcmd__step__subcmd__down)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__promote)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__remove)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__status)
            opts="-h --json --config --on --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__confirm__subcmd__isolated)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__end__subcmd__session)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__evict)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help)
            opts="sessions names inspect evict end-session confirm-isolated release-all cluster help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster)
            opts="status add promote remove step-down"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__promote)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__status)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__cluster__subcmd__step__subcmd__down)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__confirm__subcmd__isolated)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__end__subcmd__session)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__evict)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__inspect)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__names)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__release__subcmd__all)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__help__subcmd__sessions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__inspect)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__names)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__release__subcmd__all)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__admin__subcmd__sessions)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster)
            opts="-h --config --on --json --help init recover help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__help)
            opts="init recover help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__init)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__help__subcmd__recover)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__init)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__cluster__subcmd__recover)
            opts="-h --yes --longest-ttl --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --longest-ttl)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__config)
            opts="-h --config --on --json --help check help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__config__subcmd__check)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__config__subcmd__help)
            opts="check help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__config__subcmd__help__subcmd__check)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__config__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__dev__subcmd__cluster)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__hash__subcmd__token)
            opts="-h --config --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --config)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help)
            opts="config hash-token dev-cluster cluster admin help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 3 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin)
            opts="sessions names inspect evict end-session confirm-isolated release-all cluster"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster)
            opts="status add promote remove step-down"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__add)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__promote)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__remove)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__status)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__cluster__subcmd__step__subcmd__down)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 6 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__confirm__subcmd__isolated)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__end__subcmd__session)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__evict)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__inspect)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__names)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__release__subcmd__all)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__admin__subcmd__sessions)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__cluster)
            opts="init recover"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__cluster__subcmd__init)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__cluster__subcmd__recover)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__config)
            opts="check"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__config__subcmd__check)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 5 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__dev__subcmd__cluster)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__hash__subcmd__token)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__serve__subcmd__help__subcmd__help)
            opts=""
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 4 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__unlock)
            opts="-h --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
        distsync__subcmd__watch)
            opts="-h --election --count --on --json --help"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 2 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --count)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                --on)
                    COMPREPLY=($(compgen -f "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
    esac
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _distsync -o nosort -o bashdefault -o default distsync
else
    complete -F _distsync -o bashdefault -o default distsync
fi
