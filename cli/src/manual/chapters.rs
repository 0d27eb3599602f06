//! The words, one chapter for each command.

use super::Chapter;

/// Every command, in the order of the man pages.
pub(crate) const CHAPTERS: &[Chapter] = &[
    Chapter {
        command: "",
        notes: &[],
        examples: &[(
            "First steps, in three terminals of one directory",
            "fanal serve\n\
             fanal subscribe 'orders/#' --where 'amount > 100'\n\
             fanal publish orders/eu/paris '{\"item\":\"lamp\"}' -a amount=250",
        )],
        see_also: &[],
    },
    Chapter {
        command: "serve",
        notes: &[
            "Without flags: a working broker on loopback, with its data and its own certificate authority in \
             ./fanal-data, and a name made from the host's.",
            "Values come from flags, then from FANAL_NAME, FANAL_LISTEN and so on in the environment, then from the \
             configuration file. `fanal check-config` explains them.",
            "Prints one line when it is ready, then runs until SIGINT or SIGTERM. Logs go to standard error; \
             FANAL_LOG=debug shows more.",
        ],
        examples: &[
            ("A broker for trying things out", "fanal serve"),
            (
                "Two brokers on one machine",
                "fanal serve --name ewr --data ewr --ca ca \\\n    \
                     --listen 127.0.0.1:4600 --admin 127.0.0.1:4680\n\
                 fanal serve --name jfk --data jfk --ca ca \\\n    \
                     --listen 127.0.0.1:4601 --admin 127.0.0.1:4681 \\\n    \
                     --peer ewr=127.0.0.1:4600",
            ),
            ("With a configuration file", "fanal serve --config fanal.toml"),
        ],
        see_also: &["check-config", "status", "peers"],
    },
    Chapter {
        command: "demo",
        notes: &[
            "Needs nothing and leaves nothing behind: ports are the system's choice, files are in a temporary \
             directory. Ends after some seconds, with exit code 1 if one subscriber did not get exactly what the \
             file of flights says.",
        ],
        examples: &[("Watch it", "fanal demo"), ("Its result for a program", "fanal demo --json")],
        see_also: &["serve", "publish", "subscribe"],
    },
    Chapter {
        command: "publish",
        notes: &[
            "Without --best-effort the receipt comes after the event is on the broker's disk. The command waits for \
             every receipt; exit code 4 if one event was refused.",
            "With --ndjson each line is one JSON object and becomes one event: the line is the payload; its strings, \
             booleans and numbers become attributes (`id`, `source` and `time` the event's own fields); nested values \
             stay in the payload only. A line that cannot be published is refused (400), the rest goes on.",
        ],
        examples: &[
            (
                "One event, with attributes that filters can see",
                "fanal publish orders/eu/paris '{\"item\":\"lamp\"}' -a amount=250 -a gift=true",
            ),
            (
                "A file as the payload, of no use after two hours",
                "fanal publish pictures/cat --file cat.jpg --content-type image/jpeg \\\n    --ttl 2h",
            ),
            (
                "One event for each line of JSON",
                "fanal publish --ndjson flights.ndjson --topic 'flights/{origin}/{dest}'",
            ),
            (
                "The same from a pipe, with a receipt for each line",
                "zcat flights.gz | fanal publish --ndjson --receipts \\\n    --topic 'flights/{origin}/{dest}'",
            ),
        ],
        see_also: &["subscribe", "mailboxes", "bench"],
    },
    Chapter {
        command: "subscribe",
        notes: &[
            "In a topic filter `+` stands for one level, `#` for the rest; what --where takes is told by \
             `fanal filter --help`, and `fanal filter test` tries it on events without a broker. Events go to standard output and are \
             acknowledged after it was flushed. The receipt, one JSON line on standard error, names the brokers that \
             send what matches from then on.",
            "With --durable the broker keeps events while nobody is attached, and the same command goes on where it \
             ended. A second program with the same name takes over. `fanal subscriptions remove NAME` ends it.",
            "What waits for a durable subscription is bounded, by the broker's limits and by --max-bytes, --max-events and \
             --max-age. What is too much goes to the dead letters, oldest first, or is dropped with --when-full \
             drop-oldest; `fanal mailboxes` counts both.",
        ],
        examples: &[
            ("Everything below a topic", "fanal subscribe 'orders/#'"),
            (
                "By topic and content",
                "fanal subscribe 'flights/JFK/+' \\\n    --where \"dep_delay > 60 AND carrier = 'AA'\"",
            ),
            (
                "The same in CloudEvents SQL to the letter, which casts",
                "fanal subscribe 'flights/JFK/+' --strict \\\n    --where \"flight > '100' AND carrier = 'AA'\"",
            ),
            (
                "The first ten that are not from LGA, for a program",
                "fanal subscribe 'flights/#' --except 'flights/LGA/#' \\\n    --count 10 --output json",
            ),
            (
                "Nothing missed while it is away",
                "fanal subscribe 'orders/#' --durable billing --output json >> orders.ndjson",
            ),
            (
                "The last thousand of it, and no more",
                "fanal subscribe 'prices/#' --durable prices --max-events 1000 \\\n    --when-full drop-oldest",
            ),
        ],
        see_also: &["publish", "filter", "subscriptions", "mailboxes"],
    },
    Chapter {
        command: "filter",
        notes: &[
            "A filter says what an event must be like: its attributes, by name; its fields id, source and topic, which \
             are texts, and time; and its payload. It is CloudEvents SQL (CESQL) with what events need beyond it. \
             Keywords and functions may be in small letters, names are as they are.",
            "It matches only when it is true. What is missing, has another type or fails is neither true nor false but \
             unknown: `gone = 1` and `gone != 1` both are. TRUE OR unknown is true, FALSE AND unknown is false, NOT \
             unknown is unknown; the order of clauses never matters.",
            "Values: 12, -0.5, 1e3, 'text' or \"text\" (a quote within is \\'), TRUE, FALSE, \
             TIMESTAMP('2024-05-01T12:30:00Z'), DURATION('1h30m'). Nothing is cast: 5 = '5' is refused, and amount = 5 is \
             unknown where amount is a text. Whole numbers have 64 bits, and compare exactly with floats.",
            "Conditions: = != < <= > >=; BETWEEN a AND b, both included; IN (a, b); LIKE with % for any text and _ for \
             one character; each of the last three with NOT before it; EXISTS name; name IS NULL, name IS NOT NULL; a \
             name alone, for a boolean. Joined by AND, OR, XOR and NOT: where two of them meet, and in NOT (a = b), \
             parentheses say what belongs together, since CloudEvents SQL and SQL do not agree.",
            "Values can be computed: + - * / % of numbers; a time less a time is a duration, which counts in d, h, m, s \
             and ms. Functions: LENGTH, CONCAT, CONCAT_WS, LOWER, UPPER, TRIM, LEFT, RIGHT, SUBSTRING, ABS; INT, FLOAT, \
             BOOL, STRING, TIMESTAMP and DURATION make one type of another; IS_INT, IS_FLOAT, IS_BOOL, IS_TIMESTAMP and \
             IS_DURATION say whether they can.",
            "data.path reads a JSON payload: data.order.total, data.items[0].price, data['a name']. Publishers that put \
             into attributes what others filter by save every broker on the way the reading.",
            "With --strict, here and at `fanal subscribe`, it is CloudEvents SQL 1.0 to the letter and nothing else: \
             names of letters and digits, 32-bit integers, implicit casts ('5' = 5), AND, OR and XOR read from left to \
             right, and an error instead of unknown, with which nothing matches. The same words in the other mode are \
             another filter.",
            "A filter that begins with { or [ is JSON: one of the CloudEvents Subscriptions API (exact, prefix, suffix, \
             all, any, not, sql), or a pattern of Amazon EventBridge, whose `detail` is the payload. It is translated; \
             what the language cannot say stands within CLOUDEVENTS('…'), EVENTBRIDGE('…') or CESQL('…'), which may be \
             parts of any filter. `condition IS TRUE` and its like, never unknown, are their two-valued NOT.",
        ],
        examples: &[
            ("Numbers and texts", "fanal filter test \"region = 'eu' AND amount BETWEEN 10 AND 99.5\""),
            (
                "Lists and patterns",
                "fanal filter test \"carrier IN ('AA', 'B6') AND topic LIKE 'flights/%'\"",
            ),
            (
                "Booleans, and what is missing",
                "fanal filter test \"express AND (coupon IS NULL OR coupon = '')\"",
            ),
            ("Computed", "fanal filter test \"UPPER(LEFT(city, 3)) = 'PAR' AND price * amount > 100\""),
            ("Times", "fanal filter test \"time - TIMESTAMP(ordered_at) > DURATION('2h')\""),
            ("Within a JSON payload", "fanal filter test \"data.items[0].price > 100 AND EXISTS data.gift\""),
            (
                "A filter as a CloudEvents subscription has it",
                "fanal filter test \\\n    \
                 '{\"all\":[{\"prefix\":{\"type\":\"com.\"}},{\"exact\":{\"source\":\"/ci\"}}]}'",
            ),
            (
                "A pattern of Amazon EventBridge, on an event",
                "echo '{\"topic\":\"t\",\"source\":\"shop\",\"data\":{\"n\":12}}' | \\\n    \
                 fanal filter test --event - \\\n    \
                 '{\"source\":[\"shop\"],\"detail\":{\"n\":[{\"numeric\":[\">\",10]}]}}'",
            ),
            (
                "CloudEvents SQL to the letter",
                "fanal filter test --strict \"amount > '100' OR gift AND TRUE\"",
            ),
        ],
        see_also: &["filter test", "subscribe"],
    },
    Chapter {
        command: "filter test",
        notes: &[
            "Without --event it says whether EXPR is a filter, and gives its canonical text; or where the mistake is, \
             and what was expected there.",
            "With --event it says for each event whether it matches, what each clause of the filter gave and with which \
             values, and which clauses the answer comes from. An event is one JSON object, on one line or on several: \
             as `fanal subscribe --output json` prints it if it has a `topic` or an object `attributes`; a CloudEvent \
             if it has a `specversion`; else as `fanal publish --ndjson` takes it, with its scalars as attributes. \
             JSON has no times: an attribute that holds one comes as a string.",
            "Exit code 0 if EXPR is a filter and every event matches it; 1 if an event does not match or cannot be \
             read; 2 if EXPR is no filter. With --json-lines 0, whatever the answers are.",
            "With --json-lines a program asks, line by line on standard input: \"event\" is a CloudEvent in JSON, whose \
             members but `data` are its attributes, or null. With --strict \"result\" is a value of any type and \
             \"error\" is null or CESQL's word: parse, math, cast, missingFunction, functionEvaluation, \
             missingAttribute or generic. Without it \"result\" is true, false, or null for unknown.",
        ],
        examples: &[
            ("Is it a filter", "fanal filter test \"dep_delay > 60 AND carrier IN ('AA', 'B6')\""),
            (
                "Which clause decides, and with which value",
                "echo '{\"amount\":250,\"region\":\"eu\"}' | \\\n    \
                 fanal filter test \"amount > 100 AND region = 'eu'\" --event -",
            ),
            (
                "A file of events, for a program",
                "fanal filter test 'dep_delay > 60' --event flights.ndjson --json",
            ),
            (
                "For a test kit of CloudEvents SQL",
                "echo '{\"expression\":\"1 + a\",\"event\":{\"a\":2}}' | \\\n    \
                 fanal filter test --strict --json-lines",
            ),
        ],
        see_also: &["filter", "subscribe", "publish"],
    },
    Chapter {
        command: "status",
        notes: &[],
        examples: &[
            ("The broker in ./fanal-data", "fanal status"),
            ("Another one, for a program", "fanal status --data ewr --json"),
        ],
        see_also: &["peers", "sessions", "subscriptions", "mailboxes"],
    },
    Chapter {
        command: "peers",
        notes: &["LAG counts the events that are queued for the peer and not yet acknowledged by it."],
        examples: &[("Who is linked", "fanal peers --data ewr")],
        see_also: &["status", "serve"],
    },
    Chapter {
        command: "sessions",
        notes: &[],
        examples: &[("Who is attached", "fanal sessions")],
        see_also: &["status", "subscriptions"],
    },
    Chapter {
        command: "subscriptions",
        notes: &["Without an action it lists them."],
        examples: &[("What is asked for", "fanal subscriptions")],
        see_also: &[
            "subscribe",
            "mailboxes",
            "subscriptions list",
            "subscriptions update",
            "subscriptions remove",
        ],
    },
    Chapter {
        command: "subscriptions list",
        notes: &[],
        examples: &[("What is asked for, for a program", "fanal subscriptions list --json")],
        see_also: &["subscriptions"],
    },
    Chapter {
        command: "subscriptions remove",
        notes: &["The events that are queued for it are given up. A program that is attached is told."],
        examples: &[("Give up a durable subscription", "fanal subscriptions remove billing")],
        see_also: &["subscriptions", "mailboxes"],
    },
    Chapter {
        command: "subscriptions update",
        notes: &[
            "Without --where it has no predicate afterwards, and without --except no exceptions. With --strict the \
             predicate is CloudEvents SQL to the letter; the mode is part of what `fanal subscribe` must ask with.",
        ],
        examples: &[(
            "Ask for less from now on",
            "fanal subscriptions update billing 'orders/eu/#' --where 'amount > 90'",
        )],
        see_also: &["subscriptions", "subscribe"],
    },
    Chapter {
        command: "mailboxes",
        notes: &[
            "A mailbox holds what a durable subscription or a peer has not acknowledged yet, in order. It has limits: \
             those that its subscription chose, and those of the broker (`limits` in its configuration), the lower one \
             of each. Publishers are not refused when it is full: its oldest events go to the dead letters, or are \
             dropped if the subscription chose so. DEAD LETTERS and DROPPED say how many so far.",
        ],
        examples: &[("What is queued", "fanal mailboxes")],
        see_also: &["subscriptions", "dead-letters", "peers"],
    },
    Chapter {
        command: "dead-letters",
        notes: &[
            "Dead letters are events that left a mailbox without its destination: it was full, they were too old, or the \
             store needed the room. They are a mailbox of their own with limits of its own; when that is full, the \
             oldest are dropped. They outlive their subscription.",
            "A client sees and changes those of its own durable subscriptions. With --data DIR on the broker's own \
             machine all can be seen and changed, those of peers too.",
        ],
        examples: &[
            ("How many there are, for whom and why", "fanal dead-letters"),
            (
                "The events that did not fit the queue of `billing`",
                "fanal dead-letters show --subscription billing --reason full --output json",
            ),
            ("Once there is room, put them back", "fanal dead-letters requeue --subscription billing"),
            ("Throw some away", "fanal dead-letters drop --number 10-20 --yes"),
        ],
        see_also: &["mailboxes", "subscriptions"],
    },
    Chapter {
        command: "dead-letters list",
        notes: &[
            "One line for each destination and reason. Numbers are those of the dead letters, in the order in which they came.",
        ],
        examples: &[("For a program", "fanal dead-letters list --json")],
        see_also: &["mailboxes"],
    },
    Chapter {
        command: "dead-letters show",
        notes: &[
            "Each event is printed as `fanal subscribe` prints it; in JSON its member `dead_letter` says what is known of it.",
        ],
        examples: &[
            ("The oldest ten", "fanal dead-letters show --count 10"),
            ("Those of a peer", "fanal dead-letters show --peer jfk --output json"),
        ],
        see_also: &["subscribe"],
    },
    Chapter {
        command: "dead-letters requeue",
        notes: &[
            "They come after what waits there now, in their order. All of those that are chosen go back, or none: a \
             subscription that is gone has no queue. Where they do not fit, the oldest give way again.",
        ],
        examples: &[
            ("Those of one subscription", "fanal dead-letters requeue --subscription billing"),
            ("All of them", "fanal dead-letters requeue --all"),
        ],
        see_also: &["mailboxes"],
    },
    Chapter {
        command: "dead-letters drop",
        notes: &["Nothing happens without --yes: what is dropped is gone."],
        examples: &[("Those that were too old", "fanal dead-letters drop --reason age --yes")],
        see_also: &["mailboxes"],
    },
    Chapter {
        command: "store",
        notes: &[
            "These commands read the files of a broker's data directory (--data) themselves. While a broker runs on \
             it they refuse, and name its process.",
        ],
        examples: &[("Is everything there", "fanal store check --data lga")],
        see_also: &["store check", "store repair", "store dump", "mailboxes"],
    },
    Chapter {
        command: "store check",
        notes: &[
            "Reads every batch and every record, and changes nothing, not even the number of starts. Exit code 0: all \
             that was ever flushed is there. Exit code 1: it is not, and what it says is damaged; where a mailbox \
             loses events it says which one and how many.",
            "What a crash has cut off in the middle of a write is told, and is no damage: nobody was told that it was \
             stored. Certificates are not looked at.",
        ],
        examples: &[
            ("Is everything there", "fanal store check --data lga"),
            ("For a program", "fanal store check --data lga --json > check.json"),
        ],
        see_also: &["store", "store repair", "store dump"],
    },
    Chapter {
        command: "store repair",
        notes: &[
            "For a store on which a broker does not start, or that has lost batches. Without --yes it says what it \
             would keep and lose, and changes nothing. With --yes everything that is intact is kept where it lies; so \
             are events of damaged batches whose own checksum is right. What cannot be read goes to the quarantine \
             folder of the store; nothing is deleted. After a crash it can be run again.",
            "A repair raises the recovery epoch: publishers that were connected before are answered 410 and open new \
             epochs, and what was under way may arrive again. Nothing new is taken for a duplicate.",
            "--restored, each time that a data directory was put back from a backup, before the broker starts on it: \
             numbers that were given out after the backup was taken would be given out again, so that publishers \
             would be told `duplicate` of events that this store does not hold, and peers would drop new events. It \
             raises the recovery epoch to a number made from the time, so that a backup that is put back twice does \
             not use one epoch twice, and changes nothing else. Take a backup while the broker does not run.",
        ],
        examples: &[
            ("What would be kept", "fanal store repair --data lga"),
            ("Do it", "fanal store repair --data lga --yes"),
            ("After a backup was put back", "fanal store repair --data lga --restored --yes"),
        ],
        see_also: &["store", "store check"],
    },
    Chapter {
        command: "store dump",
        notes: &[
            "Goes through the log from its first segment on, in bounded memory, and goes on behind what cannot be \
             read; exit code 1 if there was such. The log also holds what was acknowledged since, until its segment \
             is used again; `fanal store check` says what is queued.",
            "With --events each event is printed as `fanal subscribe` prints a delivery, with --json one JSON object \
             a line.",
        ],
        examples: &[
            ("The log", "fanal store dump --data lga"),
            (
                "Every event that was stored for one subscription",
                "fanal store dump --data lga --mailbox billing --events --json",
            ),
        ],
        see_also: &["store", "store check"],
    },
    Chapter {
        command: "check-config",
        notes: &["Touches no network and makes no files."],
        examples: &[
            ("A file to begin with", "fanal check-config --defaults > fanal.toml"),
            ("Where each value comes from", "fanal check-config --config fanal.toml"),
        ],
        see_also: &["serve"],
    },
    Chapter {
        command: "bench",
        notes: &[
            "Publishers and subscribers run in this process and talk to the broker that the credentials point to, \
             under a topic of their own. Every subscriber checks that each event came once and in order; the exit \
             code is 1 if not.",
            "Closed loop, the default: each publisher has at most --window events under way, so that the broker sets \
             the pace; what is measured is throughput. Open loop, --rate: events are due at fixed times, however the \
             broker does; what is measured is latency at that rate, from when an event was due.",
            "It says when the rate was not reached, and when this program or the machine was the limit instead of the \
             broker. Durable subscriptions are removed at the end, after Ctrl-C too; after kill -9 remove those named \
             bench-… with `fanal subscriptions remove`.",
        ],
        examples: &[
            ("Throughput, flushed to disk", "fanal bench"),
            (
                "Latency at a steady rate, to ten durable subscribers",
                "fanal bench --rate 2000 --subscribers 10 --durable --seconds 10",
            ),
            (
                "Best effort, four publishers, for a program",
                "fanal bench --class best-effort --publishers 4 --size 1024 --json",
            ),
        ],
        see_also: &["publish", "subscribe", "status"],
    },
    Chapter {
        command: "completions",
        notes: &[
            "New shells find the script where the examples put it; zsh also wants that directory in its fpath.",
        ],
        examples: &[
            (
                "bash",
                "mkdir -p ~/.local/share/bash-completion/completions\n\
                 fanal completions bash > ~/.local/share/bash-completion/completions/fanal",
            ),
            (
                "zsh",
                "mkdir -p ~/.zfunc\n\
                 fanal completions zsh > ~/.zfunc/_fanal",
            ),
            (
                "fish",
                "mkdir -p ~/.config/fish/completions\n\
                 fanal completions fish > ~/.config/fish/completions/fanal.fish",
            ),
        ],
        see_also: &["man"],
    },
    Chapter {
        command: "man",
        notes: &["Pages are in the form of man(7), for `man`."],
        examples: &[
            ("Read one", "fanal man publish | man -l -"),
            (
                "Install all of them for yourself",
                "mkdir -p ~/.local/share/man/man1\n\
                 fanal man --dir ~/.local/share/man/man1",
            ),
        ],
        see_also: &["completions"],
    },
];
