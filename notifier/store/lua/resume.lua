--[[ Send to a sink again: undo an operator's pause, and try at once what waits for a fault to pass.

KEYS[1] lanes:SINK  zset  see claim.lua
KEYS[2] sink:SINK   hash  off, paused_until
ARGV    now (us), most lanes to make due

A lane that is under way (odd) is left alone: its score is its claim. Returns how many were made due. ]]

local now = tonumber(ARGV[1])
redis.call('HDEL', KEYS[2], 'off')
if redis.call('HEXISTS', KEYS[2], 'paused_until') == 1 then redis.call('HSET', KEYS[2], 'paused_until', ARGV[1]) end
local moved = 0
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
  if tonumber(redis.call('ZSCORE', KEYS[1], key)) % 2 == 0 then
    redis.call('ZADD', KEYS[1], ARGV[1], key)
    moved = moved + 1
  end
end
return moved
