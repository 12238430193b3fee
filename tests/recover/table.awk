# Reads one fault's events and marks, and prints a row of the table for each player; for a player of ours that did not
# hold what is promised also a line that begins with FAILED.
#
#   awk -v fault=… -v ours="rtmp flv" -v others="nginx" -v back_max=3.5 -f table.awk EVENTS
#
# Input:  <unix seconds> <label> EVENT …, <unix seconds> MARK FAULT|BACK|END, and at the end a JSON line per player.

$2 == "MARK" { mark[$3] = $1; next }

/^\{/ {
    if (!match($0, /"label": *"[^"]*"/)) next
    label = substr($0, RSTART, RLENGTH)
    gsub(/"label": *|"/, "", label)
    told[label] = 1
    if ($0 !~ /"violations": *\[ *\]/ && !violations[label]) violations[label] = 1
    next
}

$3 == "VIOLATION" {
    violations[$2]++
    if (!($2 in first_violation)) {
        first_violation[$2] = $0
        sub(/^[^ ]+ [^ ]+ VIOLATION */, "", first_violation[$2])
    }
}

# Before the fault players are still taking their seats.
!("FAULT" in mark) { next }
"END" in mark { next }

$3 == "GAPSTART" { is_away[$2] = 1 }

$3 == "DISCONNECT" {
    is_away[$2] = 1
    cut_off[$2]++
}

# The last return counts: media that comes and goes again has not come back.
$3 == "GAPEND" || $3 == "FIRSTMEDIA" {
    is_away[$2] = 0
    returned[$2] = $1
    if (match($0, / ms=[0-9]+/)) {
        gap = substr($0, RSTART + 4, RLENGTH - 4) / 1000
        if (gap > longest[$2]) longest[$2] = gap
    }
}

END {
    count = split(ours " " others, labels, " ")
    of_ours = split(ours, unused, " ")
    for (i = 1; i <= count; i++) {
        label = labels[i]
        after = (label in returned) ? returned[label] - mark["BACK"] : 0
        never = is_away[label] || !(label in returned)
        back = never ? sprintf("> %.0f s", mark["END"] - mark["BACK"]) : sprintf("%.1f s", after)
        gap = longest[label] ? sprintf("%.1f s", longest[label]) : "–"
        printf "| %s | %s | %s | %s | %d | %d |\n", fault, label, back, gap, cut_off[label], violations[label]
        if (i > of_ours) continue

        if (!told[label]) fail("ended without its closing line")
        if (cut_off[label]) fail("was cut off")
        if (violations[label]) fail("saw what is forbidden: " first_violation[label])
        if (never) fail("saw no media again")
        else if (after > back_max) fail(sprintf("had media %.1f s after BACK, more than %.1f s", after, back_max))
    }
}

function fail(what) {
    printf "FAILED %s: player %s %s\n", fault, label, what
}
