-- Appends events to a stream, each under its sequence, but for those that it has. Where it has less than the caller thinks, it lost
-- entries, and takes nothing. Returns the sequence of the newest that it was ever given.
-- KEYS: the stream. ARGV: the newest that the caller knows of, about how many entries are kept, then of each event
-- its sequence, its type and its text.
local function newest()
    if redis.call('EXISTS', KEYS[1]) == 0 then
        return 0
    end
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then
            return tonumber(string.match(info[i + 1], '^%d+'))
        end
    end
end
local has = newest()
if has < tonumber(ARGV[1]) then
    return has
end
for i = 3, #ARGV, 3 do
    if tonumber(ARGV[i]) > has then
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[i] .. '-0', 'type', ARGV[i + 1], 'event', ARGV[i + 2])
        has = tonumber(ARGV[i])
    end
end
return has
