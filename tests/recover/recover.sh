#!/bin/bash
# Pulls the plug on real processes in network namespaces and tells when players see media again: Repull beside
# nginx-rtmp's static pull, in the same run. Needs root; touches nothing outside namespaces of its own.
#
#   tests/recover/recover.sh                  every fault
#   tests/recover/recover.sh kill5 pub10      these alone
#
# Faults, each followed by BACK, the moment at which it is undone:
#   kill5, kill20    the origin is killed (SIGKILL) and started again after 5 or 20 s
#   pub10            the publisher leaves for 10 s, the origin stays up
#   stop30           the origin is frozen (SIGSTOP) for 30 s
#   drop60           every packet to and from the origin is dropped for 60 s; both sides keep their connections
#   swap5, swap20    the origin's container vanishes without a word; one with the same address comes 5 or 20 s later
#
# Options:
#   --observe SECONDS   how long to watch after BACK (20)
#   --keep              leave logs and captures of events behind, and say where
#   --no-build          take the binaries as they are in target/release (or $REPULL and $REPULL_SIM)
#
# The origin is nginx-rtmp, fed by ffmpeg (25 fps, a keyframe each second, AAC). Players are repull-sim's, by RTMP and by
# HTTP-FLV; they check order, clock, headers and keyframes on the way.
#
# Exit codes: 0 every player of ours kept its seat, saw nothing forbidden, and had media within 3.5 s of BACK; 1 one did
# not; 2 the script cannot run here, or was not understood.
set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
FAULTS=(kill5 kill20 pub10 stop30 drop60 swap5 swap20)

# What players may wait for, in seconds after BACK.
BACK_MAX=3.5
# Silence that counts as a gap, in milliseconds: longer than anything a healthy stream does.
GAP_MS=1000
# Media flows this long before the fault, in seconds.
SETTLE=5
# The stream must have reached every player by then, in seconds.
READY_MAX=30

# 198.18.0.0/15 is for tests of network devices (RFC 2544): nobody is reached by mistake.
EDGE=repull-edge-$$ ORIGIN=repull-origin-$$
EDGE_IP=198.18.77.1 ORIGIN_IP=198.18.77.2
RTMP_PORT=1935 NGINX_PORT=2935 HTTP_PORT=8080
NGINX_RTMP=${NGINX_RTMP:-/usr/lib/nginx/modules/ngx_rtmp_module.so}

TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
REPULL=${REPULL:-$TARGET/release/repull}
REPULL_SIM=${REPULL_SIM:-$TARGET/release/repull-sim}

observe=20 keep=no build=yes
work=
# Process ids by what they are.
declare -A pid=()

main() {
    local chosen=() arg
    while [ $# -gt 0 ]; do
        arg=$1
        shift
        case $arg in
        -h | --help)
            sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --observe)
            [[ ${1:-} =~ ^[0-9]+$ ]] || refuse "--observe wants a number of seconds"
            observe=$1
            shift
            ;;
        --keep) keep=yes ;;
        --no-build) build=no ;;
        *)
            [[ " ${FAULTS[*]} " == *" $arg "* ]] || refuse "no fault $arg; there are ${FAULTS[*]} (see --help)"
            chosen+=("$arg")
            ;;
        esac
    done
    [ ${#chosen[@]} -gt 0 ] || chosen=("${FAULTS[@]}")
    check_machine
    build_binaries

    work=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    write_files
    create_edge
    create_origin
    start_origin
    start_publisher

    local fault failed=0
    : >"$work/table"
    for fault in "${chosen[@]}"; do
        watch_fault "$fault"
    done
    printf '\n| fault | player | media back after BACK | longest gap | cut off | violations |\n|---|---|--:|--:|--:|--:|\n'
    grep '^|' "$work/table"
    printf '\n'
    summarize "$work/table" || failed=1
    grep '^FAILED' "$work/table" || true
    return "$failed"
}

refuse() {
    echo "recover.sh: $*" >&2
    exit 2
}

check_machine() {
    local tool missing=()
    [ "$(id -u)" = 0 ] || refuse "needs root, for network namespaces; try: sudo env \"PATH=\$PATH\" $0 $*"
    for tool in ip iptables nginx ffmpeg awk; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ -e "$NGINX_RTMP" ] || missing+=("$NGINX_RTMP")
    [ ${#missing[@]} = 0 ] ||
        refuse "missing: ${missing[*]}; on Debian: apt-get install iproute2 iptables nginx libnginx-mod-rtmp ffmpeg"
    ip netns add "$EDGE-try" 2>/dev/null || refuse "this machine allows no network namespaces (ip netns add failed)"
    ip netns del "$EDGE-try"
}

build_binaries() {
    if [ "$build" = yes ]; then
        # One after the other: built together they would share features.
        (cd "$ROOT" && cargo build --release --locked -p proxyd && cargo build --release --locked -p sim)
    fi
    [ -x "$REPULL" ] || refuse "no $REPULL; build it, or leave out --no-build"
    [ -x "$REPULL_SIM" ] || refuse "no $REPULL_SIM; build it, or leave out --no-build"
}

clean_up() {
    local status=$? name
    trap - EXIT
    set +e
    for name in "${!pid[@]}"; do
        end "$name" KILL
    done
    # A publisher that was between two lives, or a process we lost sight of, is inside one of our namespaces.
    for name in "$EDGE" "$ORIGIN"; do
        ip netns pids "$name" 2>/dev/null | xargs -r kill -KILL 2>/dev/null
        ip netns del "$name" 2>/dev/null
    done
    if [ "$keep" = yes ] && [ -n "$work" ]; then
        echo "logs: $work"
    else
        rm -rf "$work"
    fi
    exit "$status"
}

# --- processes ----------------------------------------------------------------------------------------------------

# begin NAME NAMESPACE COMMAND...: starts a process in a namespace; its output goes to NAME.log.
begin() {
    local name=$1 namespace=$2
    shift 2
    ip netns exec "$namespace" "$@" >>"$work/$name.log" 2>&1 &
    pid[$name]=$!
}

# end NAME [SIGNAL]: ends a process and waits until it is gone.
end() {
    local process=${pid[$1]:-}
    [ -n "$process" ] || return 0
    unset "pid[$1]"
    kill "-${2:-TERM}" "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
}

start_origin() {
    begin origin "$ORIGIN" nginx -c "$work/origin.conf" -p "$work" -e "$work/origin.err"
}

start_publisher() {
    begin publisher "$ORIGIN" "$work/publish"
}

end_publisher() {
    end publisher KILL
    # The loop is gone, its ffmpeg is not.
    [ ! -s "$work/ffmpeg.pid" ] || kill -KILL "$(cat "$work/ffmpeg.pid")" 2>/dev/null || true
    rm -f "$work/ffmpeg.pid"
}

# --- the network --------------------------------------------------------------------------------------------------

# The edge: proxies and players, behind a bridge as on a container host.
create_edge() {
    ip netns add "$EDGE"
    ip -n "$EDGE" link set lo up
    ip -n "$EDGE" link add containers type bridge
    ip -n "$EDGE" addr add "$EDGE_IP/24" dev containers
    ip -n "$EDGE" link set containers up
}

# The origin's container: always the same address, each time another hardware address and a kernel that knows nothing.
create_origin() {
    ip netns add "$ORIGIN"
    ip -n "$ORIGIN" link set lo up
    ip -n "$EDGE" link add origin type veth peer name eth0 netns "$ORIGIN"
    ip -n "$EDGE" link set origin master containers up
    ip -n "$ORIGIN" addr add "$ORIGIN_IP/24" dev eth0
    ip -n "$ORIGIN" link set eth0 up
}

# Takes the container away. The cable goes first: no FIN and no RST of the dying processes may reach the edge.
remove_origin() {
    ip -n "$EDGE" link set origin down
    end_publisher
    end origin KILL
    ip -n "$EDGE" link del origin
    ip netns del "$ORIGIN"
}

drop_packets() {
    ip netns exec "$EDGE" iptables -w "$1" INPUT -s "$ORIGIN_IP" -j DROP
    ip netns exec "$EDGE" iptables -w "$1" OUTPUT -d "$ORIGIN_IP" -j DROP
}

# --- files --------------------------------------------------------------------------------------------------------

write_files() {
    cat >"$work/origin.conf" <<END
load_module $NGINX_RTMP;
daemon off;
master_process off;
pid $work/origin.pid;
events { worker_connections 512; }
rtmp {
    access_log off;
    server {
        listen $RTMP_PORT;
        chunk_size 4096;
        application live { live on; }
    }
}
END
    cat >"$work/nginx.conf" <<END
load_module $NGINX_RTMP;
daemon off;
master_process off;
pid $work/nginx.pid;
events { worker_connections 512; }
rtmp {
    access_log off;
    server {
        listen $NGINX_PORT;
        chunk_size 4096;
        application live {
            live on;
            pull rtmp://$ORIGIN_IP:$RTMP_PORT/live/cam name=cam static;
        }
    }
}
END
    cat >"$work/repull.toml" <<END
[general]
listen_ip = "$EDGE_IP"
[rtmp]
port = $RTMP_PORT
[http]
port = $HTTP_PORT
[[proxy]]
app = "live"
stream = "cam"
url = "rtmp://$ORIGIN_IP:$RTMP_PORT/live/cam"
END
    # ffmpeg ends when its origin does; somebody starts it again, as an encoder's watchdog would.
    cat >"$work/publish" <<END
#!/bin/bash
while :; do
    ffmpeg -nostdin -loglevel error -re -stream_loop -1 -i '$work/clip.flv' -c copy -f flv \
        rtmp://127.0.0.1:$RTMP_PORT/live/cam &
    echo \$! >'$work/ffmpeg.pid'
    wait
    sleep 0.3
done
END
    chmod +x "$work/publish"
    ffmpeg -nostdin -loglevel error \
        -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=330:sample_rate=44100 -t 20 \
        -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 25 -sc_threshold 0 -b:v 1000k \
        -c:a aac -b:a 96k -f flv "$work/clip.flv"
}

# --- one fault ----------------------------------------------------------------------------------------------------

watch_fault() {
    local fault=$1 events=$work/events-$1 label
    echo "$fault: starting" >&2
    : >"$events"
    REPULL_API_SECRET=recover begin repull "$EDGE" "$REPULL" --config "$work/repull.toml"
    begin nginx "$EDGE" nginx -c "$work/nginx.conf" -p "$work" -e "$work/nginx.err"
    wait_for_port "$RTMP_PORT"
    wait_for_port "$NGINX_PORT"

    ip netns exec "$EDGE" "$REPULL_SIM" watch --gap-ms "$GAP_MS" \
        "rtmp=rtmp://$EDGE_IP:$RTMP_PORT/live/cam" \
        "flv=http://$EDGE_IP:$HTTP_PORT/live/cam.live.flv" \
        "nginx=rtmp://$EDGE_IP:$NGINX_PORT/live/cam" >>"$events" 2>"$work/watch.log" &
    pid[watch]=$!
    for label in rtmp flv nginx; do
        wait_for_media "$label" "$events"
    done

    sleep "$SETTLE"
    mark FAULT
    cause "$fault"
    mark BACK
    echo "$fault: back, watching for $observe s" >&2
    sleep "$observe"
    mark END
    end watch
    end nginx KILL
    end repull
    awk -v fault="$fault" -v back_max="$BACK_MAX" -v ours="rtmp flv" -v others="nginx" -v settle="$SETTLE" \
        -f "$HERE/table.awk" "$events" >>"$work/table"
}

mark() {
    echo "$EPOCHREALTIME MARK $1" >>"$work/events-$fault"
}

# Causes a fault and undoes it.
cause() {
    local seconds=${1//[a-z]/}
    case $1 in
    kill*)
        end origin KILL
        sleep "$seconds"
        start_origin
        ;;
    pub*)
        end_publisher
        sleep "$seconds"
        start_publisher
        ;;
    stop*)
        kill -STOP "${pid[origin]}"
        sleep "$seconds"
        kill -CONT "${pid[origin]}"
        ;;
    drop*)
        drop_packets -I
        sleep "$seconds"
        drop_packets -D
        ;;
    swap*)
        remove_origin
        sleep "$seconds"
        create_origin
        start_origin
        start_publisher
        ;;
    esac
}

wait_for_port() {
    local tries
    for ((tries = 0; tries < READY_MAX * 10; tries++)); do
        if ip netns exec "$EDGE" bash -c ": </dev/tcp/$EDGE_IP/$1" 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    tail -n 20 "$work"/repull.log "$work"/nginx.log >&2
    refuse "nobody listens on port $1 after $READY_MAX s"
}

wait_for_media() {
    local tries
    for ((tries = 0; tries < READY_MAX * 10; tries++)); do
        if grep -q " $1 FIRSTMEDIA" "$2"; then return 0; fi
        if ! kill -0 "${pid[watch]}" 2>/dev/null; then
            cat "$work/watch.log" >&2
            refuse "the players ended before the stream reached them"
        fi
        sleep 0.1
    done
    tail -n 20 "$work"/*.log >&2
    echo "recover.sh: no media at player $1 after $READY_MAX s, before any fault" >&2
    exit 1
}

# --- the end ------------------------------------------------------------------------------------------------------

# Tells worst and median of our players; fails if a row said FAILED.
summarize() {
    awk -F'|' '
        /^FAILED/ { failed = 1 }
        $3 ~ /^ (rtmp|flv) / {
            # Insertion keeps them in order; a player that saw nothing again waited for ever.
            after = $4 ~ />/ ? 1e9 : $4 + 0
            for (i = ++count; i > 1 && back[i - 1] > after; i--) back[i] = back[i - 1]
            back[i] = after
        }
        END {
            printf "Repull, media back after BACK: %s in the median, %s at worst (%d players)\n",
                seconds(back[int(count / 2) + 1]), seconds(back[count]), count
            exit failed
        }
        function seconds(value) { return value < 1e9 ? sprintf("%.1f s", value) : "never" }' "$1"
}

main "$@"
