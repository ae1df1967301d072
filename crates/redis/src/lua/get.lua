-- An entry, or else the right to load it; see cache.rs.
-- KEYS: the entry, the lease. ARGV: a fresh token, how long a lease stands (ms), how long before its end
-- an entry is refreshed (ms), how long an entry may live (ms); zero for as long as it likes.
-- Answers {entry or false, what became of the lease}: 'given', 'taken' or 'none'.

-- What has longer to live than it was ever given is older than it says: the clock of Redis was set back.
local function is_overdue(key, longest)
    local left = redis.call('PTTL', key)
    return left < 0 or left > longest
end

local function lease()
    local done = redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
    if type(done) == 'table' and done.ok then
        return 'given'
    elseif done then
        return 'none' -- An error: there is no room for it.
    elseif is_overdue(KEYS[2], tonumber(ARGV[2])) then
        redis.call('DEL', KEYS[2]) -- One that would never end, or too late, is not ours.
        return 'none'
    end
    return 'taken'
end

local entry = redis.pcall('GET', KEYS[1])
local longest = tonumber(ARGV[4])
if type(entry) == 'table' or (entry and longest > 0 and is_overdue(KEYS[1], longest)) then
    redis.call('DEL', KEYS[1]) -- Not a string, or too long a life: not ours.
    entry = false
end
if not entry then
    return { false, lease() }
end
local ahead = tonumber(ARGV[3])
if ahead > 0 and string.sub(entry, 1, 1) == 'V' and redis.call('PTTL', KEYS[1]) < ahead then
    return { entry, lease() }
end
return { entry, 'none' }
