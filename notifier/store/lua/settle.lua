--[[ End a claim: the delivery is done, waits for another attempt, or is dead. A settle whose claim was
lost to another worker does nothing.

KEYS[1] lanes:SINK  zset    see claim.lua
KEYS[2] sink:SINK   hash    failures in a row, failing_since (us), reason, message, paused_until, recovering,
                            posted:ID (where a message is)
KEYS[3] attempts    stream  the ledger of attempts
KEYS[4] dead:SINK   stream  dead letters
KEYS[5] claims:SINK zset    see claim.lua
ARGV    lane key, token, verdict (delivered | retry | hold | dead | release), now (us), next attempt (us),
        attempts, first attempt (us, and ' 1' where one may have been taken), failures in a row from which the sink counts as failing,
        ledger min id, failures at the claim, reason, message, ledger entry (JSON; '' for none),
        dead letter (JSON; '' for none), '1' where a death is to be counted,
        until when nothing is to be sent there (us; 0: no matter),
        field of KEYS[2] that says where a message is, and its value ('': nothing was posted),
        by when some lane is to be tried, where the sink counts as failing (us; 0: no matter)

Attempts that ran side by side and failed count as one failure. The first success of a sink that was
failing makes its waiting lanes due, spread over ten seconds. What is recorded comes first and the lane last: a
write that the server refuses (try.lua) leaves the delivery where it was.
Returns 'settled' or 'lost'. ]]

local key, token, verdict, now, next_at = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local attempts, first, threshold = ARGV[6], ARGV[7], tonumber(ARGV[8])
local seen_failures, reason, message = tonumber(ARGV[10]), ARGV[11], ARGV[12]
local score = redis.call('ZSCORE', KEYS[1], key)
if not score or string.format('%.0f', tonumber(score)) ~= token then return 'lost' end
local lane = string.gsub(KEYS[1], 'lanes:(.*)$', 'lane:%1:', 1) .. key
local delivery = redis.call('LINDEX', lane, 0)
if not delivery then  -- somebody took the lane away
  redis.call('ZREM', KEYS[1], key)
  return 'lost'
end

local function ended()
  redis.pcall('ZREM', KEYS[5], key)  -- a place that is not given back is free when the claim's time has passed
  return 'settled'
end

local function even(us) return string.format('%.0f', us - us % 2) end

local function claimed_again() return {'ZADD', KEYS[1], token, key} end

local function drop_head()
  if try(nil, 'LLEN', lane) == 1 then
    try(claimed_again, 'ZREM', KEYS[1], key)
  else
    try(claimed_again, 'ZADD', KEYS[1], even(now), key)
  end
  try(nil, 'LPOP', lane)
end

local function keep_head(claims, count, since, when)
  local text = string.match(delivery, '^[^\n]*(\n.*)$')
  local kept = claims .. ' ' .. count .. ' ' .. since .. text
  try(function() return {'LSET', lane, 0, delivery} end, 'LSET', lane, 0, kept)
  try(nil, 'ZADD', KEYS[1], even(when), key)
end

local function wake_waiting()
  local waiting = try(nil, 'ZRANGEBYSCORE', KEYS[1], '(' .. even(now), '+inf', 'LIMIT', 0, 1000)
  for at, other in ipairs(waiting) do
    local due = tonumber(try(nil, 'ZSCORE', KEYS[1], other))
    local spread = now + 10000000 * at / #waiting
    if due % 2 == 0 and due > spread then try(nil, 'ZADD', KEYS[1], even(math.floor(spread)), other) end
  end
  if #waiting == 1000 then
    try(nil, 'HSET', KEYS[2], 'recovering', 1)
  else
    try(nil, 'HDEL', KEYS[2], 'recovering')
  end
end

-- Where nothing gets through and nobody is due soon, this one is, so that the end of the outage is noticed.
local function probed(when)
  local probe = tonumber(ARGV[19])
  if probe == 0 or when <= probe then return when end
  for _, other in ipairs(try(nil, 'ZRANGEBYSCORE', KEYS[1], '-inf', probe, 'LIMIT', 0, 2)) do
    if other ~= key then return when end
  end
  return probe
end

if verdict == 'release' then
  local claims, rest = string.match(delivery, '^(%d+) ([^\n]*)\n')
  local count, since = string.match(rest, '^(%d+) (.*)$')
  if redis.call('HGET', KEYS[2], 'paused_until') == token then  -- it was the probe of a paused sink
    redis.call('HSET', KEYS[2], 'paused_until', string.format('%.0f', now))
  end
  keep_head(math.max(tonumber(claims) - 1, 0), count, since, now)
  return ended()
end

local sink = redis.call('HMGET', KEYS[2], 'failures', 'recovering', 'paused_until', 'next_at')
local failures, next_rest = tonumber(sink[1] or 0), tonumber(sink[4] or 0)
if ARGV[14] ~= '' then append(KEYS[4], 'letter', ARGV[14]) end
if verdict == 'dead' and ARGV[15] ~= '' then
  try(function() return {'HINCRBY', KEYS[2], 'deaths', -1} end, 'HINCRBY', KEYS[2], 'deaths', 1)
end
if ARGV[13] ~= '' then
  append(KEYS[3], 'attempt', ARGV[13])
  try(nil, 'XTRIM', KEYS[3], 'MINID', '~', ARGV[9])
end

if verdict == 'delivered' then
  if sink[1] or sink[3] then
    try(nil, 'HDEL', KEYS[2], 'failures', 'failing_since', 'reason', 'message', 'paused_until')
  end
  if sink[2] or sink[3] or failures >= threshold then wake_waiting() end
elseif verdict == 'retry' or verdict == 'hold' then
  if failures == seen_failures then try(nil, 'HSET', KEYS[2], 'failures', failures + 1) end
  try(nil, 'HSETNX', KEYS[2], 'failing_since', string.format('%.0f', now))
  try(nil, 'HSET', KEYS[2], 'reason', reason, 'message', message)
end
if verdict == 'hold' then
  try(nil, 'HSET', KEYS[2], 'paused_until', next_at)
elseif verdict == 'retry' or (verdict == 'dead' and reason ~= 'poison') then
  try(nil, 'HDEL', KEYS[2], 'paused_until')  -- it answered, if not as hoped: the sink is there
end
if tonumber(ARGV[16]) > next_rest then try(nil, 'HSET', KEYS[2], 'next_at', ARGV[16]) end

if ARGV[17] ~= '' then try(nil, 'HSET', KEYS[2], ARGV[17], ARGV[18]) end

if verdict == 'delivered' or verdict == 'dead' then
  drop_head()
else
  local when = tonumber(next_at)
  if verdict == 'retry' and failures + 1 >= threshold then when = probed(when) end
  keep_head(0, attempts, first, when)
end
return ended()
