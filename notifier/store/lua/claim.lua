--[[ Claim lanes of one sink that are due: each gives its first delivery to one worker for one attempt.

KEYS[1] lanes:SINK  zset  lane key -> time of its next attempt (us). Even: it waits. Odd: it is claimed,
                          and the number is the claim's token; when it has passed, the claim has ended.
KEYS[2] sink:SINK   hash  paused_until (us), off, next_at (us: nothing is sent before), failures
KEYS[3] claims:SINK zset  lane key -> the token of its claim: what all workers have under way there
ARGV    now (us), us until a claim ends, most lanes, us between two claims (0: no rate),
        claims in a row from which a delivery is a suspect, '1' to claim one suspect and nothing else,
        most lanes that all workers together may have under way

A delivery is 'claims attempts first(us)[ 1]\n' and its JSON; the 1 where an attempt may have been taken. A claim adds one to claims, and a settle sets it
back, so claims says how often in a row an attempt began and never ended. A suspect is left where it is
until a worker asks for it, with nothing else under way there. What is no delivery is claimed like one, behind
a head of its own: it goes to the dead letters.
A paused sink whose time has come gives one lane, to probe it with.
Returns {us until it is worth asking again (-1: nothing waits), failures, suspects that are due,
{key, token, delivery}...}. ]]

local now, hold, most, gap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local suspected, alone = tonumber(ARGV[5]), ARGV[6] == '1'
local sink = redis.call('HMGET', KEYS[2], 'paused_until', 'off', 'next_at', 'failures')
local paused, off, next_at = tonumber(sink[1] or 0), sink[2], tonumber(sink[3] or 0)
local failures = tonumber(sink[4] or 0)
if off then return {-1, failures, 0} end
if paused > now then return {paused - now, failures, 0} end
if next_at > now then return {next_at - now, failures, 0} end
if gap > 0 or paused > 0 or alone then most = 1 end
local function give_back(from, to)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], from, to)) do redis.call('ZREM', KEYS[3], key) end
end
give_back('-inf', now)
give_back('(' .. string.format('%.0f', now + 2 * hold), '+inf')  -- from before the server's clock was set back
most = math.min(most, tonumber(ARGV[7]) - redis.call('ZCARD', KEYS[3]))
if most <= 0 then return {1000000, failures, 0} end  -- the worker that ends an attempt looks again at once

local prefix = string.gsub(KEYS[1], 'lanes:(.*)$', 'lane:%1:', 1)
local token = now + hold
if token % 2 == 0 then token = token + 1 end
token = string.format('%.0f', token)
local claimed, empty = {0, failures, 0}, {}
local looked_at = most + 256  -- suspects stand in the way: a worker has no more under way than it has places
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, looked_at)) do
  if #claimed - 3 == most then break end
  local delivery = redis.call('LINDEX', prefix .. key, 0)
  if delivery then
    local claims, rest = string.match(delivery, '^(%d+)( .*)$')
    if not claims then claims, rest = '0', ' 0 0\n' .. delivery end
    local is_suspect = tonumber(claims) >= suspected
    if is_suspect then claimed[3] = claimed[3] + 1 end
    if is_suspect == alone then claimed[#claimed + 1] = {key, token, (tonumber(claims) + 1) .. rest} end
  else
    empty[#empty + 1] = key
  end
end
for _, key in ipairs(empty) do redis.call('ZREM', KEYS[1], key) end
if #claimed > 3 then
  if paused > 0 then redis.call('HSET', KEYS[2], 'paused_until', token) end
  if gap > 0 then redis.call('HSET', KEYS[2], 'next_at', string.format('%.0f', now + gap)) end
elseif claimed[3] == 0 then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  claimed[1] = first[2] and math.max(tonumber(first[2]) - now, 0) or -1
end
-- What is counted comes last: a claim of which a write is refused must count for nothing.
for at = 4, #claimed do redis.call('ZADD', KEYS[3], token, claimed[at][1]) end
for at = 4, #claimed do redis.call('ZADD', KEYS[1], token, claimed[at][1]) end
for at = 4, #claimed do redis.call('LSET', prefix .. claimed[at][1], 0, claimed[at][3]) end
return claimed
