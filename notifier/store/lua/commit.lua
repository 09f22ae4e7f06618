--[[ The one write of state: everything that one chunk of a poll found, or nothing.

KEYS[1] meta     hash    version, fence and what the poller keeps about the whole deployment
KEYS[2] lease    hash    who polls: number, holder, until
KEYS[3] state    hash    connection id -> encoded state
KEYS[4] history  stream  one entry an event
KEYS[5] inbox    stream  what people wrote; the entries this commit applied are removed
KEYS[6] alerts   hash    one field an alert
KEYS[7] silences hash    one field a silence
KEYS[8] durations hash   one field for a carrier and status: how long it lasted

ARGV    fence, holder, expected version ('' for a new deployment), new version, now (us),
        history min id, last inbox id applied ('' for none),
        then nine counted lists: meta pairs, state pairs, state ids to delete, alert pairs and silence pairs
        ('': to delete), duration pairs, page triples (sink, id of the message, text; '': to delete), history entries (JSON),
        owed triples (sink, lane key, delivery)

Keys of sinks are built from the tag of KEYS[1]: sink:SINK (hash), lanes:SINK (zset), lane:SINK:KEY (list). All checks come before
the first write, and a write that the server refuses takes back those before it (try.lua): so the version comes
last, and before it what no undo is needed for.
Returns {'committed'}, {'repeated'} (this very commit was done before), {'fenced'} or {'moved', version}. ]]

local fence, holder, expected, version, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local current = redis.call('HGET', KEYS[1], 'version') or ''
if current == version then return {'repeated'} end
local lease = redis.call('HMGET', KEYS[2], 'number', 'holder')
if lease[1] ~= fence or lease[2] ~= holder then return {'fenced'} end
if current ~= expected then return {'moved', current} end

local prefix = string.sub(KEYS[1], 1, -5)
local at = 8
local function list(width)
  local first = at + 1
  at = first + width * tonumber(ARGV[at])
  return first, at - 1
end
local meta, meta_end = list(2)
local states, states_end = list(2)
local forgotten, forgotten_end = list(1)
local alerts, alerts_end = list(2)
local silences, silences_end = list(2)
local durations, durations_end = list(2)
local pages, pages_end = list(3)
local history, history_end = list(1)
local owed, owed_end = list(3)

try(nil, 'HSET', KEYS[1], 'fence', fence)  -- may meta be written? the fence is ours in any case
for entry = history, history_end do append(KEYS[4], 'event', ARGV[entry]) end
for entry = owed, owed_end, 3 do
  local sink, key = ARGV[entry], ARGV[entry + 1]
  push(prefix .. 'lanes:' .. sink, prefix .. 'lane:' .. sink .. ':' .. key, key, now, ARGV[entry + 2])
end
local function put(hash, field, value)  -- '': to delete
  local before = try(nil, 'HGET', hash, field)
  local function back() return before and {'HSET', hash, field, before} or {'HDEL', hash, field} end
  if value == '' then try(back, 'HDEL', hash, field) else try(back, 'HSET', hash, field, value) end
end
for entry = forgotten, forgotten_end do put(KEYS[3], ARGV[entry], '') end
for entry = alerts, alerts_end, 2 do put(KEYS[6], ARGV[entry], ARGV[entry + 1]) end
for entry = silences, silences_end, 2 do put(KEYS[7], ARGV[entry], ARGV[entry + 1]) end
for entry = durations, durations_end, 2 do put(KEYS[8], ARGV[entry], ARGV[entry + 1]) end
for entry = pages, pages_end, 3 do
  local sink = prefix .. 'sink:' .. ARGV[entry]
  put(sink, 'page:' .. ARGV[entry + 1], ARGV[entry + 2])
  if ARGV[entry + 2] == '' then put(sink, 'posted:' .. ARGV[entry + 1], '') end
end
try(nil, 'XTRIM', KEYS[4], 'MINID', '~', ARGV[6])
if states <= states_end then try(nil, 'HSET', KEYS[3], unpack(ARGV, states, states_end)) end
try(nil, 'HSET', KEYS[1], 'version', version, unpack(ARGV, meta, meta_end))

if ARGV[7] ~= '' then  -- what was applied: an entry that cannot be removed is applied again, to no effect
  for _, entry in ipairs(redis.pcall('XRANGE', KEYS[5], '-', ARGV[7])) do
    redis.pcall('XDEL', KEYS[5], entry[1])
  end
end
return {'committed'}
