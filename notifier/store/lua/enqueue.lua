--[[ Owe a sink more than what a poll found: the present state, or what happened before.

KEYS[1] meta        hash    version
KEYS[2] lanes:SINK  zset    see claim.lua
ARGV    now (us), the version that the deliveries were made from ('': they are true at any), then pairs:
        lane key, delivery

Returns 'moved' and enqueues nothing where a commit came in between; else 'owed'. ]]

local prefix = string.gsub(KEYS[2], 'lanes:(.*)$', 'lane:%1:', 1)
local version = redis.call('HGET', KEYS[1], 'version')
if ARGV[2] ~= '' and version ~= ARGV[2] then return 'moved' end
for at = 3, #ARGV, 2 do push(KEYS[2], prefix .. ARGV[at], ARGV[at], ARGV[1], ARGV[at + 1]) end
return 'owed'
