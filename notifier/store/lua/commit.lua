--[[ The one write of state: everything that one chunk of a poll found, or nothing.

KEYS[1] meta     hash    version, fence and what the poller keeps about the whole deployment
KEYS[2] lease    hash    who polls: number, holder, until
KEYS[3] state    hash    connection id -> encoded state
KEYS[4] history  stream  one entry an event
KEYS[5] inbox    stream  what people wrote; the entries this commit applied are removed

ARGV    fence, holder, expected version ('' for a new deployment), new version, now (us),
        history min id, last inbox id applied ('' for none),
        then five counted lists: meta pairs, state pairs, state ids to delete, history entries (JSON),
        owed triples (sink, lane key, delivery)

Lanes are built from the tag of KEYS[1]: lanes:SINK (zset) and lane:SINK:KEY (list). A lane that waits is
not moved. All checks come before the first write: Lua does not roll back.
Returns {'committed'}, {'repeated'} (this very commit was done before), {'fenced'} or {'moved', version}. ]]

local fence, holder, expected, version, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local current = redis.call('HGET', KEYS[1], 'version') or ''
if current == version then return {'repeated'} end
local lease = redis.call('HMGET', KEYS[2], 'number', 'holder')
if lease[1] ~= fence or lease[2] ~= holder then return {'fenced'} end
if current ~= expected then return {'moved', current} end

local prefix = string.sub(KEYS[1], 1, -5)
local at = 8
local function list(width, each)
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    each(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    at = at + width
  end
end

redis.call('HSET', KEYS[1], 'version', version, 'fence', fence)
list(2, function(field, value) redis.call('HSET', KEYS[1], field, value) end)
list(2, function(id, value) redis.call('HSET', KEYS[3], id, value) end)
list(1, function(id) redis.call('HDEL', KEYS[3], id) end)
list(1, function(entry) redis.call('XADD', KEYS[4], '*', 'event', entry) end)
list(3, function(sink, key, delivery)
  redis.call('RPUSH', prefix .. 'lane:' .. sink .. ':' .. key, delivery)
  redis.call('ZADD', prefix .. 'lanes:' .. sink, 'NX', now, key)
end)
redis.call('XTRIM', KEYS[4], 'MINID', '~', ARGV[6])
if ARGV[7] ~= '' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[5], '-', ARGV[7])) do
    redis.call('XDEL', KEYS[5], entry[1])
  end
end
return {'committed'}
